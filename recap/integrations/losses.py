"""Reweighting in a loop of your own: several losses in, one loss out.

>>> policy = reweighting_policies.build("recap", ["segmentation", "depth"])
>>> for batch in loader:
...     losses = {"segmentation": segmentation_loss(batch), "depth": depth_loss(batch)}
...     weighted_sum(losses, policy).backward()
...     optimizer.step()
...     optimizer.zero_grad()

The method is not bound to reinforcement learning: an objective is anything that gives a scalar loss.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch import distributed as dist

from registry.reweighting.base import ReweightingPolicy


def weighted_sum(
    losses: Mapping[str, Tensor],
    policy: ReweightingPolicy,
    *,
    update: bool = True,
    parameters: Iterable[Tensor] | None = None,
) -> Tensor:
    """The loss (1/K) Σ λ_k L_k of K objectives, and the policy's update by what the losses were.

    The weights are those from before this step's losses, unless the policy says that it weighs the step that it has just
    measured (`same_step`). No gradient flows through them. With several processes the policy sees the mean over those that
    have the objective, so that all hold the same weights; every process must call.

    Args:
        losses: objective -> scalar; an objective that is absent from the step is left out.
        policy: built with the names of all objectives, which then report losses.
        update: False for all but one micro-batch of an optimizer step, or where you call `policy.update` yourself.
        parameters: those that the losses share; needed by a policy that asks for gradient norms (GradNorm), which costs a
            backward pass per objective. With several processes the norm is the mean of theirs.

    Returns:
        Scalar, differentiable.

    Raises:
        ValueError: no loss; one that is no scalar or has an unknown name; a policy that was told to expect rewards, or that
            asks for gradient norms without `parameters`.
    """
    if not losses:
        raise ValueError("weighted_sum was given no loss")
    policy.check_known(losses)
    for name, loss in losses.items():
        if loss.numel() != 1:
            raise ValueError(f"the loss of {name!r} must be a scalar; its shape is {tuple(loss.shape)}")
    if update and policy.same_step:
        _report(losses, policy, parameters)
    total = combine(losses, policy.weights)
    if update and not policy.same_step:
        _report(losses, policy, parameters)
    return total


def combine(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """(1/K) Σ λ_k L_k over the losses that are there; K counts the weights."""
    return torch.stack([weights[name] * loss.reshape(()) for name, loss in losses.items()]).sum() / len(weights)


def mean_over_processes(values: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    """The mean of each value over the processes that have it, the same on all; `names` fixes their order."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return dict(values)
    names = list(names)
    device = torch.device("cuda", torch.cuda.current_device()) if "nccl" in dist.get_backend() else torch.device("cpu")
    rows = [[values.get(name, 0.0), float(name in values)] for name in names]
    table = torch.tensor(rows, dtype=torch.float64, device=device)
    dist.all_reduce(table)
    return {name: value / count for name, (value, count) in zip(names, table.tolist(), strict=True) if count}


class StepLosses:
    """What the losses of an optimizer step were, over its micro-batches."""

    def __init__(self) -> None:
        self._values: defaultdict[str, list[float]] = defaultdict(list)
        self.empty = True

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Takes note of the losses of a micro-batch."""
        self.empty = False
        for name, loss in losses.items():
            self._values[name].append(float(loss.detach()))

    def report_to(self, policy: ReweightingPolicy) -> None:
        """Updates a policy by the mean of each loss over micro-batches, then processes, and forgets them."""
        means = {name: sum(values) / len(values) for name, values in self._values.items()}
        self._values.clear()
        self.empty = True
        policy.update(mean_over_processes(means, policy.objectives))


def require_losses(policy: ReweightingPolicy) -> None:
    """Raises ValueError for a policy that takes what it is told for rewards: higher would count as better."""
    others = [f"{name!r} ({kind})" for name, kind in policy.signal_kinds.items() if kind != "loss"]
    if others:
        raise ValueError(
            f"the losses are what the policy sees, but it was built to expect something else of {', '.join(others)}: build"
            " it with the names of the objectives alone"
        )


def _report(losses: Mapping[str, Tensor], policy: ReweightingPolicy, parameters: Iterable[Tensor] | None) -> None:
    require_losses(policy)
    if policy.needs_gradient_norms:
        if parameters is None:
            raise ValueError(
                f"{type(policy).__name__} asks for gradient norms: give weighted_sum the shared `parameters`"
            )
        shared = [parameter for parameter in parameters if parameter.requires_grad]
        norms = {name: _gradient_norm(loss, shared) for name, loss in losses.items()}
        policy.observe_gradient_norms(mean_over_processes(norms, policy.objectives))
    values = {name: float(loss.detach()) for name, loss in losses.items()}
    policy.update(mean_over_processes(values, policy.objectives))


def _gradient_norm(loss: Tensor, parameters: list[Tensor]) -> float:
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    norms = [torch.linalg.vector_norm(gradient) for gradient in gradients if gradient is not None]
    return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
