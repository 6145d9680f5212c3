"""The update of a step: forward and backward of (1/K) Σ λ_k L_k, gradients made one, the optimizer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from recap.experiment.experiment import Experiment
from recap.learning.loss import StepCounts, mean_losses, weight_vector
from recap.learning.models import Models
from recap.learning.passes import SAMPLER_STATISTICS, STATISTICS, Pass
from recap.optimization.gradients import GradientAggregator, add_gradients, set_gradient
from recap.parallel.processes import total
from registry.reweighting.base import ReweightingPolicy


class UpdateResult(NamedTuple):
    """What the updates of a step did.

    Attributes:
        loss_sums: [N_all, K], of the first update, over the step; divided by the units that were counted, ℓ(n, k).
        metrics: over all processes; of the first update, but for clipping and gradient norm, which are the last one's.
        taken: whether the optimizer took all of them.
    """

    loss_sums: Tensor
    metrics: dict[str, float]
    taken: bool


class Backward(NamedTuple):
    """What one forward and backward of a step found, over all processes.

    Attributes:
        loss_sums: [N_all, K], over the step.
        metrics: means of the losses, and what the passes counted.
        gradient_norms: ‖∇L_k‖ of the objectives present; empty where the policy does not ask for them.
    """

    loss_sums: Tensor
    metrics: dict[str, float]
    gradient_norms: dict[str, float]


class Update:
    """Updates the model, `grpo.iterations` times a step; an update that is not finite is not taken.

    Attributes:
        begun: whether the optimizer has begun to change the model since this was last set to False.
    """

    def __init__(
        self, experiment: Experiment, models: Models, reweighting: ReweightingPolicy, accelerator: Accelerator
    ) -> None:
        self.experiment = experiment
        self.objectives = experiment.objectives
        self.models = models
        self.reweighting = reweighting
        self.accelerator = accelerator
        self.aggregator = GradientAggregator(experiment.gradient_method)
        self.begun = False
        self.per_objective = bool(experiment.gradient_method) or reweighting.needs_gradient_norms

    def __call__(
        self, passes: Sequence[Pass], counts: StepCounts, weights: Mapping[str, float], rewards: Mapping[str, float]
    ) -> UpdateResult:
        """All updates of a step, on the same rollouts."""
        loss_sums, metrics, norms = self.forward_backward(passes, counts, weights)
        if self.reweighting.needs_gradient_norms:
            self.reweighting.observe_gradient_norms(norms)
        taken = self.take(loss_sums, rewards, metrics)
        for _ in range(self.experiment.grpo.iterations - 1):
            if not taken:
                break
            later_sums, later, _ = self.forward_backward(passes, counts, weights)
            taken = self.take(later_sums, rewards, later)
            metrics |= {name: later[name] for name in ("clipped", "gradient_norm") if name in later}
        self.models.schedule.step()
        return UpdateResult(loss_sums, metrics, taken)

    def forward_backward(self, passes: Sequence[Pass], counts: StepCounts, weights: Mapping[str, float]) -> Backward:
        """Accumulates the gradient of (1/K) Σ λ_k L_k."""
        loss_sums = torch.zeros_like(counts.units)
        statistics = torch.zeros(len(STATISTICS), device=self.accelerator.device)
        size = sum(p.numel() for p in self.models.trained_parameters) if self.per_objective else 0
        jacobian = torch.zeros(counts.num_objectives, size, device=self.accelerator.device)
        norms: dict[str, float] = {}
        for index, run_pass in enumerate(passes):
            # A sharded gradient is summed over processes at every pass: whole ones would have to be kept until the last.
            sums_now = self.models.sharded or (index == len(passes) - 1 and not self.per_objective)
            with nullcontext() if sums_now else self.accelerator.no_sync(self.models.scorer):
                result = run_pass()
                loss_sums += result.parts.sums
                statistics += result.statistics
                if self.per_objective:
                    add_gradients(jacobian, result.parts.objectives, self.models.trained_parameters)
                else:
                    # Data-parallel wrappers average the gradients of the processes; ours are shares of a sum.
                    self.accelerator.backward(result.parts.loss * self.accelerator.num_processes)
        if self.per_objective:
            jacobian = total(self.accelerator, jacobian)  # in the place of this process's part, which is as large
            if self.reweighting.needs_gradient_norms:
                norms = self.gradient_norms(jacobian, counts)
            self.combine(jacobian, weights)
        for parameter in self.models.trained_parameters:
            # What nothing reached has gradient 0: which groups were skipped, and where, cannot matter to the optimizer.
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        loss_sums = total(self.accelerator, loss_sums)
        metrics = self.metrics(mean_losses(loss_sums, counts), total(self.accelerator, statistics), weights)
        return Backward(loss_sums, metrics, norms)

    def gradient_norms(self, jacobian: Tensor, counts: StepCounts) -> dict[str, float]:
        """‖∇L_k‖ of the objectives present, from [K, parameters]."""
        found = zip(self.objectives, jacobian.norm(dim=1).tolist(), counts.present.any(0).tolist(), strict=True)
        return {objective.name: norm for objective, norm, present in found if present}

    def combine(self, jacobian: Tensor, weights: Mapping[str, float]) -> None:
        """One direction from the gradients of the objectives: by a gradient method, or their mean.

        Args:
            jacobian: [K, parameters], without λ; it is weighed in place.
        """
        jacobian *= weight_vector(weights, self.objectives, jacobian.device)[:, None]
        # That of the first process: some methods draw random numbers, and copies of a model must not drift apart.
        set_gradient(broadcast(self.aggregator(jacobian)), self.models.trained_parameters)

    def take(self, loss_sums: Tensor, rewards: Mapping[str, float], metrics: dict[str, float]) -> bool:
        """An optimizer step, unless a loss, a reward or the gradient is not finite; whether it was taken."""
        limit = self.experiment.optimizer.max_grad_norm
        norm = float(self.accelerator.clip_grad_norm_(self.models.scorer.parameters(), limit))
        metrics |= {"gradient_norm": norm, "learning_rate": float(self.models.schedule.get_last_lr()[0])}
        finite = bool(torch.isfinite(loss_sums).all()) and all(map(math.isfinite, [norm, *rewards.values()]))
        if finite:
            self.begun = True
            self.models.optimizer.step()
            self.models.samplers_are_stale = True
        self.models.optimizer.zero_grad()
        return finite

    def metrics(self, means: Tensor, statistics: Tensor, weights: Mapping[str, float]) -> dict[str, float]:
        """L_k, [K], their weighted mean, and what the passes counted, [len(STATISTICS)], over all processes."""
        lam = weight_vector(weights, self.objectives, means.device)
        metrics = {f"loss/{objective.name}": float(means[k]) for k, objective in enumerate(self.objectives)}
        metrics["loss"] = float((lam * means).mean())
        if self.models.weight_sync is not None:
            metrics["sync_difference"] = self.models.weight_sync.difference
        totals = dict(zip(STATISTICS, statistics.tolist(), strict=True))
        if not totals["sequences"]:
            return metrics
        metrics["entropy"] = totals["entropy"] / totals["sequences"]
        if self.experiment.kl_coefficient:
            metrics["kl"] = totals["kl"] / totals["sequences"]
        if self.experiment.grpo.iterations > 1:
            metrics["clipped"] = totals["clipped"] / max(1, totals["tokens"])
        if self.models.weight_sync is not None:
            metrics |= {name: totals[name] / max(1, totals["tokens"]) for name in SAMPLER_STATISTICS}
        return metrics
