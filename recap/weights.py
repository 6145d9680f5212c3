"""The weights of a model as plain tensors, wherever Accelerate has put them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor


@torch.no_grad()
def whole_parameters(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter of a model, whole, one at a time: (name as in the plain model, value).

    Where FSDP2 has sharded the model each value is gathered from all processes, so all of them have to run through to the
    end together; only one gathered parameter exists at a time. Tied parameters come once.
    """
    reshard(model)
    for name, parameter in model.named_parameters():
        value = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
        yield name.replace("_checkpoint_wrapped_module.", ""), value.detach()


def reshard(model: nn.Module) -> None:
    """Frees what forward passes without a backward have left gathered; nothing where nothing is sharded."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
