"""Weights between two models: (1 − α) base + α trained.

Source: Robust Fine-tuning of Zero-shot Models, WiSE-FT (arXiv 2109.01903), equation 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recap.model.adapters import ADAPTER_NAME, adapted_layers

Weights = dict[str, Tensor]
"""Name -> tensor in CPU memory; of tensors with several names the first."""


def weights_of(model: nn.Module) -> Weights:
    """A copy of parameters and persistent buffers; empty under an adapter, whose base stays in the model itself."""
    return {} if adapted_layers(model) else {name: own.to("cpu", copy=True) for name, own in _distinct(model).items()}


@torch.no_grad()
def mix(model: nn.Module, base: Weights, alpha: float) -> None:
    """Makes a trained model the mixture (1 − α) base + α trained, in place, one tensor at a time.

    α = 0 and α = 1 are the base and the trained model bit by bit. A mixture is computed in float32 at least and rounded once to
    the precision of its tensor. What is tied stays tied. Buffers of floating point are mixed as parameters are; of others, such
    as counters, there is no mixture: below α = 0.5 they are the base's. An adapter's update is multiplied by α.

    Args:
        model: trained, without the wrapper of a data-parallel trainer, whole on this process.
        base: what `weights_of` gave of it before it was trained.
        alpha: in [0, 1].

    Raises:
        ValueError: α out of its range, or a base of another model.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1]; it is {alpha:g}")
    if layers := adapted_layers(model):
        for layer in layers.values():
            layer.lora_B[ADAPTER_NAME].weight.mul_(alpha)
        return
    trained = _distinct(model)
    if trained.keys() != base.keys():
        unlike = sorted(trained.keys() ^ base.keys())
        raise ValueError(f"base and trained model do not have the same weights: {', '.join(unlike[:3])}")
    for name, own in trained.items():
        own.copy_(mixed(base[name].to(own.device), own, alpha))


def mixed(base: Tensor, trained: Tensor, alpha: float) -> Tensor:
    """(1 − α) base + α trained, of one tensor."""
    if alpha in (0.0, 1.0) or not trained.is_floating_point():
        return base if alpha < 0.5 else trained
    precision = torch.promote_types(trained.dtype, torch.float32)
    return torch.lerp(base.to(precision), trained.to(precision), alpha).to(trained.dtype)


def _distinct(model: nn.Module) -> Weights:
    """Parameters and persistent buffers, each once."""
    found: Weights = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor.detach()
    return found
