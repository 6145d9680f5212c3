"""A plain copy of the trained model on every process, for sampling where Accelerate has sharded the model itself."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from recap.model.scoring import Scorer
from recap.model.weights import whole
from registry.backends.base import LoadedModel

Module = TypeVar("Module", bound=nn.Module)


def frozen_copy(module: Module, device: torch.device, dtype: torch.dtype | None = None) -> Module:
    """A copy to evaluate only, on `device`, its parameters in `dtype`; None: in their own.

    Buffers keep their precision: rotary frequencies in bf16 would misplace the tokens of long prompts. Each tensor is copied
    by itself to where it is to stay: where a model is loaded in host memory, that never holds two of it.
    """
    # What deepcopy finds here it takes for copied already, a tensor with two names under both.
    copied: dict[int, Any] = {
        id(tensor): nn.Parameter(_copy(tensor, device, dtype), requires_grad=False) for tensor in module.parameters()
    }
    copied |= {id(tensor): _copy(tensor, device, None) for tensor in module.buffers()}
    return copy.deepcopy(module, copied).eval()


def _copy(tensor: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    return tensor.detach().to(device=device, dtype=dtype or tensor.dtype, copy=True)


def replica_of(loaded: LoadedModel, device: torch.device, dtype: torch.dtype | None) -> LoadedModel:
    """The same model, processor and special tokens, with weights of its own."""
    return replace(loaded, model=frozen_copy(loaded.model, device, dtype))


@torch.no_grad()
def refresh(twin: nn.Module, scorer: nn.Module) -> None:
    """Copies the weights of a scorer's model into a replica; to be called on all processes together.

    Parameters are gathered one by one, so that a process never holds more than its replica and a single parameter.
    """
    assert isinstance(scorer, Scorer)
    for module in scorer.modules():  # what a forward without backward has left gathered is no shard
        if isinstance(module, FSDPModule):
            module.reshard()
    own = twin.state_dict(keep_vars=True)
    for name, tensor in scorer.model.state_dict(keep_vars=True).items():  # an adapter stays one: nothing is merged
        own[name].copy_(whole(tensor))
