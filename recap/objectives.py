"""Objectives k = 1..K, and the step loss (1/K) Σ λ_k L_k over them.

ℓ(n, k) is the mini-batch loss of objective k on domain n, and L_k = (1/N) Σ_n ℓ(n, k) over the N domains of the step.
Every mean is over the whole step: sums are divided by counts over all micro-batches and processes, never by a mean of means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import gin
import torch
from einops import einsum, rearrange
from torch import Tensor

from recap.advantages import AdvantageScale, group_advantages

if TYPE_CHECKING:
    from recap.domains import Domain

WeightsActOn = Literal["loss", "reward", "advantage"]
ObjectiveScope = Literal["shared", "per_domain"]


@gin.configurable("next_token_prediction", module="recap")
@dataclass(frozen=True)
class NextTokenPrediction:
    """Imitates the reference: cross-entropy of the target's tokens, its end token included."""


@dataclass(frozen=True)
class Objective:
    """One objective: its name in logs and in policies, and the domains that carry it.

    Attributes:
        name: as bound in gin; ``domain/name`` where the scope is per domain.
        supervised: trained on references, not by reinforcement.
        domains: names of its domains.
    """

    name: str
    supervised: bool
    domains: tuple[str, ...]


def objective_name(domain: str, name: str, scope: ObjectiveScope) -> str:
    return name if scope == "shared" else f"{domain}/{name}"


def collect_objectives(domains: Sequence[Domain], scope: ObjectiveScope) -> list[Objective]:
    """The objectives of an experiment, in the order in which its domains name them.

    Raises:
        ValueError: one name for a verifier here and next-token prediction there.
    """
    found: dict[str, Objective] = {}
    for domain in domains:
        for local in domain.objectives:
            name = objective_name(domain.name, local, scope)
            supervised = local in domain.supervised
            known = found.get(name)
            if known and known.supervised != supervised:
                raise ValueError(
                    f"objective {name!r} is a verifier in one domain and next_token_prediction in another"
                    f" ({', '.join(known.domains)}; {domain.name}): give them different names"
                )
            found[name] = Objective(name, supervised, (*(known.domains if known else ()), domain.name))
    return list(found.values())


@gin.configurable("grpo", module="recap")
@dataclass(frozen=True, kw_only=True)
class GRPO:
    """GRPO surrogate: sequence mean of token-level clipped importance ratios, group-normalised advantages.

    s = -(1/T) Σ_t min(ρ_t A, clip(ρ_t, 1 - ε, 1 + ε) A) + β (1/T) Σ_t kl_t, ρ_t = exp(log π - log π_old),
    kl_t = exp(log π_ref - log π) - (log π_ref - log π) - 1 (the k3 estimator).
    Source: arXiv 2402.03300, equations 3 and 4.

    Args:
        clip: ε of the importance ratio.
        kl_coefficient: β of the KL term against the reference model, the model as it was at the start; 0: none is kept.
        scale: what advantages are divided by: the group's standard deviation, or nothing (Dr. GRPO).

    Raises:
        ValueError: a clip outside (0, 1), a negative coefficient.
    """

    clip: float = 0.2
    kl_coefficient: float = 0.0
    scale: AdvantageScale = "group"

    def __post_init__(self) -> None:
        if not 0 < self.clip < 1:
            raise ValueError(f"grpo.clip must lie in (0, 1); it is {self.clip}")
        if self.kl_coefficient < 0:
            raise ValueError(f"grpo.kl_coefficient must be >= 0; it is {self.kl_coefficient}")
        if self.scale not in ("group", "none"):
            raise ValueError(f"grpo.scale must be 'group' or 'none'; it is {self.scale!r}")

    def surrogate(self, log_probs: Tensor, old_log_probs: Tensor, mask: Tensor, advantages: Tensor) -> Tensor:
        """Sequence losses without the KL term.

        Args:
            log_probs, old_log_probs, mask: [B, T].
            advantages: [B, K].

        Returns: [B, K].
        """
        ratio = (log_probs - old_log_probs).exp()
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
        weight = mask / mask.sum(1, keepdim=True).clamp(min=1)
        gain = torch.minimum(
            einsum(ratio, advantages, "b t, b k -> b t k"), einsum(clipped, advantages, "b t, b k -> b t k")
        )
        return -einsum(gain, weight, "b t k, b t -> b k")

    @staticmethod
    def kl(log_probs: Tensor, reference_log_probs: Tensor, mask: Tensor) -> Tensor:
        """k3 estimate of KL(model || reference) per token, averaged over each sequence: [B, T] -> [B], >= 0."""
        difference = reference_log_probs - log_probs
        weight = mask / mask.sum(1, keepdim=True).clamp(min=1)
        return ((difference.exp() - difference - 1) * weight).sum(1)


@dataclass(frozen=True)
class StepCounts:
    """Over the whole step, all processes: what every mean is divided by.

    Attributes:
        units: [N_all, K]: completions to which objective k applied on domain n, or target tokens for a supervised one.
    """

    units: Tensor

    @property
    def num_domains(self) -> int:
        """N: domains of which something was drawn."""
        return max(1, int((self.units.sum(1) > 0).sum()))

    @property
    def num_objectives(self) -> int:
        return int(self.units.shape[1])

    def scale(self) -> Tensor:
        """1 / (K N units): what one unit of (n, k) contributes to the step loss at λ = 1; 0 where there is none."""
        scale = 1 / (self.num_objectives * self.num_domains * self.units.clamp(min=1))
        return torch.where(self.units > 0, scale, 0.0)


def reinforcement_loss(
    grpo: GRPO,
    *,
    log_probs: Tensor,
    old_log_probs: Tensor,
    reference_log_probs: Tensor | None,
    mask: Tensor,
    rewards: Tensor,
    applies: Tensor,
    domain_index: Tensor,
    weights: Tensor,
    counts: StepCounts,
    act_on: WeightsActOn,
    kl_coefficient: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """This micro-batch's part of (1/K) Σ λ_k L_k, over the objectives trained by reinforcement.

    ``loss``: every objective has its own advantages, λ_k multiplies its surrogate (the paper).
    ``advantage``: the surrogate of the sum of λ_k A_k (GDPO without its batch normalisation); while the model is the one
    that sampled, its gradient is the same as under ``loss``.
    ``reward``: advantages of the sum of λ_k r_k (the public code): a factor common to a domain's objectives cancels.

    Args:
        log_probs, old_log_probs, reference_log_probs, mask: [P * G, T].
        rewards, applies: [P, G, K].
        domain_index: [P].
        weights: [K], λ.
        counts: over the whole step.

    Returns:
        the differentiable loss (a scalar); Σ s per (n, k), detached, [N_all, K], from which ℓ(n, k) follows by dividing by
        the counts; the mean KL of each sequence, detached, [P * G].
    """
    group_size = rewards.shape[1]
    advantages = group_advantages(rewards, applies, grpo.scale)
    flat_applies = rearrange(applies, "p g k -> (p g) k").to(log_probs.dtype)
    row_domain = domain_index.repeat_interleave(group_size)
    surrogate = grpo.surrogate(log_probs, old_log_probs, mask, rearrange(advantages, "p g k -> (p g) k"))
    kl = log_probs.new_zeros(log_probs.shape[0])
    if reference_log_probs is not None:
        kl = grpo.kl(log_probs, reference_log_probs, mask)
    per_objective = (surrogate + kl_coefficient * kl[:, None]) * flat_applies
    share = counts.scale().to(log_probs.dtype)[row_domain]  # [P * G, K]

    if act_on == "loss":
        loss = (per_objective * share * weights).sum()
    else:
        weighted = torch.where(applies, weights, 0.0)
        present = applies.sum(-1, keepdim=True).clamp(min=1)
        if act_on == "advantage":
            combined = (weighted * advantages).sum(-1, keepdim=True) / present
        else:
            total = (weighted * torch.where(applies, rewards, 0.0)).sum(-1, keepdim=True)
            combined = group_advantages(total, applies.any(-1, keepdim=True), grpo.scale)
        single = grpo.surrogate(log_probs, old_log_probs, mask, rearrange(combined, "p g 1 -> (p g) 1"))[:, 0]
        loss = ((single + kl_coefficient * kl) * (share * flat_applies).sum(1)).sum()

    sums = log_probs.new_zeros(counts.units.shape).index_add_(0, row_domain, per_objective.detach())
    return loss, sums, kl.detach()


def supervised_loss(
    *,
    log_probs: Tensor,
    mask: Tensor,
    applies: Tensor,
    domain_index: Tensor,
    weights: Tensor,
    counts: StepCounts,
) -> tuple[Tensor, Tensor]:
    """This micro-batch's part of (1/K) Σ λ_k L_k, over next-token prediction; λ always acts on the loss.

    Args:
        log_probs, mask: [P, T], of the target's tokens.
        applies: [P, K], the supervised objectives of each example.
        domain_index: [P].

    Returns:
        the differentiable loss (a scalar); summed cross-entropy per (n, k), detached, [N_all, K].
    """
    cross_entropy = -(log_probs * mask).sum(1)  # [P]
    per_objective = cross_entropy[:, None] * applies
    share = counts.scale().to(log_probs.dtype)[domain_index]
    loss = (per_objective * share * weights).sum()
    sums = log_probs.new_zeros(counts.units.shape).index_add_(0, domain_index, per_objective.detach())
    return loss, sums


def mean_losses(sums: Tensor, counts: StepCounts) -> Tensor:
    """L_k = (1/N) Σ_n ℓ(n, k) from the step's sums: [K]; 0 for an objective that the step did not hold."""
    return torch.where(counts.units > 0, sums / counts.units.clamp(min=1), 0.0).sum(0) / counts.num_domains


def weight_vector(weights: Mapping[str, float], objectives: Sequence[Objective], device: torch.device) -> Tensor:
    return torch.tensor([weights[objective.name] for objective in objectives], device=device)
