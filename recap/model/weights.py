"""A model's weights in one piece, as a model without adapter would have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from recap.model.adapters import ADAPTER_NAME, adapted_layers

SAMPLED = 256  # values of each parameter that a fingerprint is of


def whole_parameters(model: nn.Module, *, every_name: bool = False) -> Iterator[tuple[str, Tensor]]:
    """The weights of a model, one at a time: whole, with its adapter merged into them, under plain names.

    What is written as a checkpoint of transformers, and what another copy of the model is brought up to date with. The
    model itself stays as it is, bit by bit: an update is added to a copy, in the adapter's precision, and rounded once to
    the precision of its layer. It is added whether or not the adapter is disabled at the moment.

    Names and order are those of `state_dict` of the model without adapter, persistent buffers included; a tensor that
    has two names (an output head tied to the embedding) comes once, under its first, unless `every_name`.

    Args:
        model: without the wrapper of a data-parallel trainer. Where its parameters are sharded, every process must go
            through all of them, since each is gathered when its turn comes.
        every_name: whether a tensor comes under each of its names.

    Yields: name and tensor, detached; on the model's device and, where nothing was gathered or merged, in its memory:
        do not write to it.
    """
    layers = adapted_layers(model)
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if (id(tensor) in seen and not every_name) or name.partition(".lora_")[0] in layers:
            continue
        seen.add(id(tensor))
        owner, _, rest = name.partition(".base_layer.")
        if owner not in layers:
            yield name, whole(tensor)
        elif rest == "weight":
            yield f"{owner}.weight", _merged(layers[owner])
        else:
            yield f"{owner}.{rest}", whole(tensor)


def whole(tensor: Tensor) -> Tensor:
    """A tensor without its graph, gathered where it is sharded."""
    full: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach()


@torch.no_grad()
def _merged(layer: Any) -> Tensor:
    """W + (alpha / rank) B A of peft's `lora.Linear`."""
    weight = whole(layer.base_layer.weight)
    update = whole(layer.lora_B[ADAPTER_NAME].weight) @ whole(layer.lora_A[ADAPTER_NAME].weight)
    scale = float(layer.scaling[ADAPTER_NAME])
    return (weight + scale * update).to(weight.dtype)


def fingerprint(model: nn.Module) -> float:
    """A number by which two loads of the same weights are known to be of the same, from a few values of every parameter."""
    total = 0.0
    for number, parameter in enumerate(model.parameters(), 1):
        flat = parameter.detach().reshape(-1)
        some = flat[:: max(1, len(flat) // SAMPLED)].double().cpu()
        total += float((some * torch.arange(1, len(some) + 1)).sum()) / number
    return total
