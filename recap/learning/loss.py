"""The step loss (1/K) Σ λ_k L_k over the objectives.

ℓ(n, k) is the mini-batch loss of objective k on domain n, and L_k = (1/N) Σ_n ℓ(n, k) over the N domains of the step.
Every mean is over the whole step: sums are divided by counts over all micro-batches and processes, never by a mean of means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from einops import einsum, rearrange
from torch import Tensor

from recap.data.objectives import Objective
from recap.learning.advantages import Advantages
from recap.optimization.grpo import GRPO


@dataclass(frozen=True)
class StepCounts:
    """Over the whole step, all processes: what every mean is divided by.

    Attributes:
        units: [N_all, K], the divisor of ℓ(n, k): of a supervised objective its target tokens, else what
            `GRPO.units` counts, by default completions.
        items: [N_all, K], completions to which objective k applied on domain n, or supervised targets.
    """

    units: Tensor
    items: Tensor

    @property
    def present(self) -> Tensor:
        """[N_all, K], true where objective k was measured on domain n."""
        return self.items > 0

    @property
    def num_domains(self) -> int:
        """N: domains of which something was drawn."""
        return max(1, int(self.present.any(1).sum()))

    @property
    def num_objectives(self) -> int:
        return int(self.units.shape[1])

    def share(self) -> Tensor:
        """1 / (N units): what one unit of (n, k) contributes to L_k; 0 where there is none."""
        return torch.where(self.units > 0, 1 / (self.num_domains * self.units.clamp(min=1)), 0.0)


class LossParts(NamedTuple):
    """A micro-batch's part of the step loss.

    Attributes:
        loss: scalar, part of (1/K) Σ λ_k L_k, differentiable.
        objectives: [K], part of each L_k, without λ, differentiable; where λ acts on the loss, `loss` is their weighted sum
            over K.
        sums: [N_all, K], detached; over the step and divided by the units they are ℓ(n, k).
    """

    loss: Tensor
    objectives: Tensor
    sums: Tensor


def reinforcement_loss(
    grpo: GRPO,
    *,
    ratio: Tensor,
    kl: Tensor,
    loss_mask: Tensor,
    advantages: Advantages,
    applies: Tensor,
    domain_index: Tensor,
    weights: Tensor,
    counts: StepCounts,
    correction: Tensor | None = None,
) -> LossParts:
    """This micro-batch's part of (1/K) Σ λ_k L_k, over the objectives trained by reinforcement.

    Where λ acts on advantages or rewards, the surrogate of the combined advantages stands for those of the objectives;
    what each L_k reports is still the surrogate of its own advantages.

    Args:
        ratio, loss_mask: [P * G, T], importance ratios and the tokens that count.
        kl: [P * G, T], the KL term of each token times β.
        advantages, applies: of P groups of G completions.
        domain_index: [P].
        weights: [K], λ.
        counts: over the whole step.
        correction: [P * G, T], what the surrogate of each token is multiplied by (`GRPO.correction`); None: 1.
    """
    group_size = applies.shape[1]
    own = rearrange(advantages.per_objective, "p g k -> (p g) k")
    present = rearrange(applies, "p g k -> (p g) k").to(ratio.dtype)
    row_domain = domain_index.repeat_interleave(group_size)
    penalty = grpo.over_tokens(kl, loss_mask)  # [P * G]
    per_objective = (grpo.surrogate(ratio, loss_mask, own, correction) + penalty[:, None]) * present
    share = counts.share().to(ratio.dtype)[row_domain]  # [P * G, K]

    objectives = (per_objective * share).sum(0)
    if advantages.combined is None:
        loss = (objectives * weights).sum() / counts.num_objectives
    else:
        combined = rearrange(advantages.combined, "p g -> (p g) 1")
        single = grpo.surrogate(ratio, loss_mask, combined, correction)[:, 0] + penalty
        loss = (single * (share * present).sum(1)).sum() / counts.num_objectives
    sums = ratio.new_zeros(counts.units.shape).index_add_(0, row_domain, per_objective.detach())
    return LossParts(loss, objectives, sums)


def supervised_loss(
    *,
    log_probs: Tensor,
    mask: Tensor,
    applies: Tensor,
    gradient_scale: Tensor,
    domain_index: Tensor,
    weights: Tensor,
    counts: StepCounts,
) -> LossParts:
    """This micro-batch's part of (1/K) Σ λ_k L_k, over next-token prediction; λ always acts on the loss.

    Args:
        log_probs, mask: [P, T], of the target's tokens.
        applies: [P, K], the supervised objectives of each example.
        gradient_scale: [P, T, K], constants; they change the gradient, not what is reported.
        domain_index: [P].
    """
    cross_entropy = -log_probs * mask  # [P, T]
    per_objective = einsum(cross_entropy, gradient_scale, "p t, p t k -> p k") * applies
    share = counts.share().to(log_probs.dtype)[domain_index]
    objectives = (per_objective * share).sum(0)
    reported = cross_entropy.detach().sum(1, keepdim=True) * applies
    sums = log_probs.new_zeros(counts.units.shape).index_add_(0, domain_index, reported)
    return LossParts((objectives * weights).sum() / counts.num_objectives, objectives, sums)


def mean_losses(sums: Tensor, counts: StepCounts) -> Tensor:
    """L_k = (1/N) Σ_n ℓ(n, k) from the step's sums: [K]; 0 for an objective that the step did not hold."""
    return (sums * counts.share()).sum(0)


def weight_vector(weights: Mapping[str, float], objectives: Sequence[Objective], device: torch.device) -> Tensor:
    return torch.tensor([weights[objective.name] for objective in objectives], device=device)
