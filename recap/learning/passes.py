"""The passes of a step: each is one forward whose loss is a share of (1/K) Σ λ_k L_k."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from recap.learning.loss import LossParts, StepCounts, reinforcement_loss, supervised_loss
from recap.learning.microbatch import ReinforcementBatch, SupervisedBatch
from recap.optimization.grpo import GRPO, sampler_difference
from registry.backends.base import LoadedModel
from registry.example import Example

SAMPLER_STATISTICS = ("sampler_difference", "sampler_ratio", "sampler_capped")
"""Summed over tokens of the loss, 0 for our own decoder: |log π_old - log π_sampler|; the importance ratio of the two, cut
off at the cap; and how many ratios were cut off."""
STATISTICS = ("sequences", "entropy", "kl", "tokens", "clipped", *SAMPLER_STATISTICS)
"""Summed over completions: their number, mean entropy and mean KL per token; over tokens of the loss: their number, those
with an importance ratio outside the clip range, and `SAMPLER_STATISTICS`."""


class PassResult(NamedTuple):
    """`LossParts` of a micro-batch, and its statistics: [len(STATISTICS)], detached."""

    parts: LossParts
    statistics: Tensor


Pass = Callable[[], PassResult]


def kl_coefficients(beta: float, acts: Sequence[bool], device: torch.device) -> float | Tensor:
    """β where the KL term acts on every domain alike, else the β of each: [N]."""
    return beta if all(acts) else beta * torch.tensor(acts, dtype=torch.float32, device=device)


@dataclass(frozen=True)
class StepWeights:
    """λ, [K], and the counts of the step that it weighs."""

    weights: Tensor
    counts: StepCounts


@dataclass
class ReinforcementPass:
    """Completions under the model, against their advantages.

    Attributes:
        kl_coefficient: β, or [N], the β of every domain.
        reference: log-probs of the same tokens under the reference model; None without a KL term.
        old_log_probs: [P * G, T], of the model before the updates on this rollout; None: the model as it is at the first run
            of this pass. Where a generator samples with a copy of it, its log-probs are `item.sampler_log_probs`.
    """

    item: ReinforcementBatch
    step: StepWeights
    scorer: nn.Module
    grpo: GRPO
    temperature: float
    kl_coefficient: float | Tensor
    reference: Callable[[ReinforcementBatch], Tensor] | None
    old_log_probs: Tensor | None = None
    _reference_log_probs: Tensor | None = field(default=None, init=False)

    def __call__(self) -> PassResult:
        item, grpo = self.item, self.grpo
        scores = self.scorer(
            item.encoded, item.completion_ids, item.completion_mask, temperature=self.temperature, prefix=item.prefix
        )
        if item.prefix is not None and torch.is_grad_enabled():
            item.prefix.release()  # its graph is good for this one backward, and its weights for this one update
        if self.old_log_probs is None:
            self.old_log_probs = scores.log_probs.detach()
        if self.reference is not None and self._reference_log_probs is None:
            self._reference_log_probs = self.reference(item)
        ratio = grpo.ratio(scores.log_probs, self.old_log_probs, item.loss_mask)
        correction, of_sampler = self._compare_with_sampler(self.old_log_probs)
        kl = torch.zeros_like(scores.log_probs)
        if self._reference_log_probs is not None:
            kl = grpo.kl(scores.log_probs, self._reference_log_probs)
        parts = reinforcement_loss(
            grpo,
            ratio=ratio,
            kl=self._penalty(kl),
            loss_mask=item.loss_mask,
            advantages=item.advantages,
            applies=item.applies,
            domain_index=item.domain_index,
            weights=self.step.weights,
            counts=self.step.counts,
            correction=correction,
        )
        mask, length = item.completion_mask, item.completion_mask.sum(1)
        statistics = [
            length.new_tensor(len(mask)),
            ((scores.entropy * mask).sum(1) / length.clamp(min=1)).sum(),
            ((kl.detach() * mask).sum(1) / length.clamp(min=1)).sum(),
            item.loss_mask.sum(),
            (grpo.is_clipped(ratio) * item.loss_mask).sum(),
            *of_sampler,
        ]
        return PassResult(parts, torch.stack([value.float() for value in statistics]))

    def _penalty(self, kl: Tensor) -> Tensor:
        """β times the KL term of each token, [P * G, T]; exactly 0, and without gradient, in domains of β = 0."""
        beta = self.kl_coefficient
        if isinstance(beta, Tensor):
            beta = beta[self.item.domain_index].repeat_interleave(self.item.applies.shape[1])[:, None].to(kl.dtype)
            return torch.where(beta > 0, beta * kl, 0.0)
        return beta * kl

    def _compare_with_sampler(self, old_log_probs: Tensor) -> tuple[Tensor | None, list[Tensor]]:
        """The correction of each token, [P * G, T], None for our own decoder; and `SAMPLER_STATISTICS`."""
        item, grpo = self.item, self.grpo
        if item.sampler_log_probs is None:
            return None, [old_log_probs.new_zeros(())] * len(SAMPLER_STATISTICS)
        compared = (old_log_probs, item.sampler_log_probs, item.completion_mask)
        ratio, cap = grpo.sampler_ratio(*compared), grpo.sampler_correction_cap
        values = [sampler_difference(*compared).abs(), ratio.clamp(max=cap), (ratio > cap).float()]
        return grpo.correction(ratio), [(value * item.loss_mask).sum() for value in values]


@dataclass(frozen=True)
class SupervisedPass:
    """Targets under the model."""

    item: SupervisedBatch
    step: StepWeights
    scorer: nn.Module

    def __call__(self) -> PassResult:
        item = self.item
        scores = self.scorer(item.encoded, item.target_ids, item.mask)
        parts = supervised_loss(
            log_probs=scores.log_probs,
            mask=item.mask,
            applies=item.applies,
            gradient_scale=item.gradient_scale(scores.log_probs),
            domain_index=item.domain_index,
            weights=self.step.weights,
            counts=self.step.counts,
        )
        return PassResult(parts, torch.zeros(len(STATISTICS), device=item.mask.device))


@dataclass(frozen=True)
class EmptyPass:
    """A forward of one token with a loss of 0, for a process that has fewer micro-batches than another.

    Where a model is spread over processes, all of them must run it equally often.
    """

    loaded: LoadedModel
    step: StepWeights
    scorer: nn.Module

    def __call__(self) -> PassResult:
        units, device = self.step.counts.units, self.step.weights.device
        encoded = self.loaded.encode(["."], [Example(id="empty", question="", answer="")], device)
        ids = torch.tensor([[self.loaded.eos_token_ids[0]]], device=device)
        nothing = 0.0 * self.scorer(encoded, ids, torch.ones_like(ids)).log_probs.sum()
        parts = LossParts(nothing, nothing.expand(units.shape[1]), torch.zeros_like(units))
        return PassResult(parts, torch.zeros(len(STATISTICS), device=device))
