"""A model's weights in one piece, wherever Accelerate has put them."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def whole_parameters(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The weights of a model, one at a time: whole, under the names of `state_dict`, persistent buffers included.

    A tensor that has two names (an output head tied to the embedding) comes once, under its first.

    Args:
        model: without the wrapper of a data-parallel trainer. Where its parameters are sharded, every process must go
            through all of them, since each is gathered when its turn comes.

    Yields: name and tensor, detached; where nothing was gathered, in the model's memory: do not write to it.
    """
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, whole(tensor)


def whole(tensor: Tensor) -> Tensor:
    """A tensor without its graph, gathered where it is sharded."""
    full: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach()
