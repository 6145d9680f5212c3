"""`GRPO`: the surrogate of the objectives trained by reinforcement, in the variants of the field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import gin
import torch
from einops import einsum
from torch import Tensor

AdvantageScale = Literal["group", "batch", "none"]
WeightsActOn = Literal["loss", "advantage", "normalized_advantage", "reward"]
"""Where λ acts on objectives trained by reinforcement; A_k are the advantages of objective k.

| value | meaning | elsewhere |
|---|---|---|
| loss | λ_k times the surrogate of A_k | the RECAP paper |
| advantage | one surrogate of the mean of λ_k A_k | GDPO without its batch normalisation |
| normalized_advantage | one surrogate of (Σ λ_k A_k) / (its batch std + 1e-4) | GDPO (2601.05242); TRL `normalize_then_sum` |
| reward | one surrogate of the advantages of Σ λ_k r_k | RECAP's public code; TRL `sum_then_normalize` |

Sums run over the objectives that apply to a completion. Under `advantage`, while the model is the one that sampled, the
gradient is that of `loss`. Under `reward` with a standard deviation as scale a factor common to a domain's objectives
cancels, and so it does under `normalized_advantage`: only ratios of weights within a domain act.
"""

Normalization = Literal["sequence", "token", "constant"]
ImportanceRatio = Literal["token", "sequence"]
KLEstimator = Literal["k1", "k2", "k3"]
SamplerCorrection = Literal["token", "sequence"]
KLOn = Literal["all", "reasoning", "replay"]


@gin.configurable("grpo", module="recap")
@dataclass(frozen=True, kw_only=True)
class GRPO:
    """GRPO surrogate: clipped importance ratios times group-normalised advantages, plus β times a KL term.

    Of token t of a completion: l_t = -min(ρ_t A, clip(ρ_t, 1 - ε, 1 + ε_high) A) + β kl_t, ρ_t = exp(log π - log π_old).
    Source: arXiv 2402.03300, equations 3 and 4. The variants and TRL's names for them:

    | variant | settings | TRL |
    |---|---|---|
    | GRPO, 2402.03300 | the defaults | loss_type 'grpo' |
    | DAPO, 2503.14476 | normalization 'token', clip_high 0.28, mask_truncated | 'dapo' ('bnpo': per micro-batch) |
    | Dr. GRPO, 2503.20783 | normalization 'constant', scale 'none' | 'dr_grpo' |
    | GSPO, 2507.18071 | importance_ratio 'sequence', clip 3e-4, clip_high 4e-4 | importance_sampling_level |
    | Lite PPO, 2508.08221 | normalization 'token', scale 'batch' | scale_rewards 'batch' |
    | truncated importance sampling | sampler_correction, under a `rollout.generator` | vllm_importance_sampling_mode |

    Args:
        clip: ε, how far the importance ratio counts below 1.
        clip_high: ε_high, how far above 1; None: as `clip`.
        kl_coefficient: β of the KL term against the reference model, the model as it was at the start; 0: none is kept.
        kl_estimator: with d = log π - log π_ref: 'k1' d, 'k2' d²/2, 'k3' exp(-d) - 1 + d (Schulman, "Approximating KL
            divergence", 2020). All are differentiated as they stand. On samples of π the mean gradient of k2 is that of
            KL(π || π_ref), the mean gradient of k3 is that of KL(π_ref || π), and the mean gradient of k1 is 0: k1 measures
            without bias but restrains nothing until the ratio leaves 1.
        kl_on: on whose prompts the KL term acts: 'all', 'replay': those of the domains with `Domain.replayed`, or 'reasoning':
            those of the others. The KL term of a completion is what it is under 'all', or 0; no mean is over fewer
            completions. A domain that only imitates has no completions, and so no KL term.
        scale: what advantages are divided by: the standard deviation of the 'group', that of the 'batch' (all completions
            of the domain in the step, all processes), or nothing ('none').
        normalization: how ℓ(n, k) averages: 'sequence': mean over completions of the mean over tokens; 'token': mean over
            all tokens; 'constant': sum over tokens / (completions · rollout.max_new_tokens).
        importance_ratio: 'token', or 'sequence': the geometric mean of a completion's token ratios for each of its tokens.
            Its gradient is also that of GSPO's detached token form.
        iterations: μ, optimizer updates on each step's rollouts. The old log-probs are those of the first, when the model
            is still the one that sampled. A step stays one batch of rollouts: step number, learning rate, reweighting,
            evaluations and checkpoints move once per step; signals and losses are those of the first update.
        mask_truncated: whether completions without an end token are left out of the loss. Their rewards still count in
            their group's mean, and under 'sequence' and 'constant' they count as completions of loss 0, as in TRL.
        skip_zero_advantage: whether groups whose advantages are all 0 skip the forward and backward pass, where there is no
            KL term. Gradient, losses and counts are the same; the entropy in the log is over the completions that remain.
        sampler_correction: where completions come from a generator that is not the model in training but a copy of it, the
            surrogate of each token is multiplied by min(π_old / π_sampler, cap), a constant: 'token': of that token;
            'sequence': of the whole completion, which is unbiased and varies more; None: by nothing. Yao et al., "Your
            efficient RL framework secretly brings you off-policy RL training", 2025. Our own decoder needs none.
        sampler_correction_cap: > 0, where importance ratios of the correction are cut off (TRL: 3).

    Raises:
        ValueError: a value outside its range, or a choice that does not exist.
    """

    clip: float = 0.2
    clip_high: float | None = None
    kl_coefficient: float = 0.0
    kl_estimator: KLEstimator = "k3"
    kl_on: KLOn = "all"
    scale: AdvantageScale = "group"
    normalization: Normalization = "sequence"
    importance_ratio: ImportanceRatio = "token"
    iterations: int = 1
    mask_truncated: bool = False
    skip_zero_advantage: bool = True
    sampler_correction: SamplerCorrection | None = "token"
    sampler_correction_cap: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.clip < 1:
            raise ValueError(f"grpo.clip must lie in (0, 1); it is {self.clip}")
        if self.clip_high is not None and not self.clip_high > 0:
            raise ValueError(f"grpo.clip_high must be > 0, or None; it is {self.clip_high}")
        if self.kl_coefficient < 0:
            raise ValueError(f"grpo.kl_coefficient must be >= 0; it is {self.kl_coefficient}")
        if self.iterations < 1:
            raise ValueError(f"grpo.iterations must be at least 1; it is {self.iterations}")
        if not self.sampler_correction_cap > 0:
            raise ValueError(f"grpo.sampler_correction_cap must be > 0; it is {self.sampler_correction_cap}")
        choices: dict[str, tuple[str | None, ...]] = {
            "kl_estimator": ("k1", "k2", "k3"),
            "kl_on": get_args(KLOn),
            "scale": ("group", "batch", "none"),
            "normalization": ("sequence", "token", "constant"),
            "importance_ratio": ("token", "sequence"),
            "sampler_correction": ("token", "sequence", None),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                known = ", ".join(map(str, allowed))
                raise ValueError(f"grpo.{name} must be one of {known}; it is {getattr(self, name)!r}")

    @property
    def clip_range(self) -> tuple[float, float]:
        """(1 - ε, 1 + ε_high)."""
        return 1 - self.clip, 1 + (self.clip if self.clip_high is None else self.clip_high)

    def loss_mask(self, mask: Tensor, truncated: Tensor) -> Tensor:
        """Which tokens the loss is over: [B, T], from the completion mask [B, T] and [B]."""
        return mask * ~truncated[:, None] if self.mask_truncated else mask

    def units(self, loss_mask: Tensor, max_new_tokens: int) -> Tensor:
        """What each completion adds to the divisor of ℓ(n, k): [B]."""
        if self.normalization == "token":
            return loss_mask.sum(1)
        return torch.full_like(loss_mask[:, 0], 1 if self.normalization == "sequence" else max_new_tokens)

    def over_tokens(self, values: Tensor, mask: Tensor) -> Tensor:
        """What each completion adds to the numerator of ℓ(n, k): [B, T, ...] -> [B, ...]."""
        total = einsum(values, mask.to(values.dtype), "b t ..., b t -> b ...")
        if self.normalization != "sequence":
            return total
        length = mask.sum(1).clamp(min=1).to(values.dtype)
        return total / length.view(-1, *[1] * (total.dim() - 1))

    def ratio(self, log_probs: Tensor, old_log_probs: Tensor, mask: Tensor) -> Tensor:
        """ρ: [B, T], > 0."""
        log_ratio = log_probs - old_log_probs
        if self.importance_ratio == "sequence":
            mean = (log_ratio * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
            log_ratio = mean.expand_as(log_ratio)
        return log_ratio.exp()

    def sampler_ratio(self, old_log_probs: Tensor, sampler_log_probs: Tensor, mask: Tensor) -> Tensor:
        """π_old / π_sampler of the token, or under 'sequence' of the whole completion, before the cap: [B, T], >= 0.

        Where a log-prob is NaN, and outside the mask, the token counts as sampled from the model itself.
        """
        log_ratio = sampler_difference(old_log_probs, sampler_log_probs, mask)
        if self.sampler_correction == "sequence":
            log_ratio = log_ratio.sum(1, keepdim=True).expand_as(log_ratio)
        return log_ratio.exp()

    def correction(self, sampler_ratio: Tensor) -> Tensor:
        """What the surrogate of each token is multiplied by: [B, T], in [0, cap]."""
        if self.sampler_correction is None:
            return torch.ones_like(sampler_ratio)
        return sampler_ratio.clamp(max=self.sampler_correction_cap)

    def surrogate(self, ratio: Tensor, mask: Tensor, advantages: Tensor, correction: Tensor | None = None) -> Tensor:
        """Losses of completions without the KL term.

        Args:
            ratio, mask: [B, T].
            advantages: [B, K].
            correction: [B, T], a constant factor of each token; None: 1.

        Returns: [B, K].
        """
        clipped = ratio.clamp(*self.clip_range)
        gain = torch.minimum(
            einsum(ratio, advantages, "b t, b k -> b t k"), einsum(clipped, advantages, "b t, b k -> b t k")
        )
        if correction is not None:
            gain = gain * correction[..., None]
        return -self.over_tokens(gain, mask)

    def is_clipped(self, ratio: Tensor) -> Tensor:
        """[B, T], true where the importance ratio lies outside the range."""
        low, high = self.clip_range
        return (ratio < low) | (ratio > high)

    def kl(self, log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
        """Estimate of KL(model || reference) per token: [B, T]; >= 0 for k2 and k3."""
        difference = log_probs - reference_log_probs
        if self.kl_estimator == "k1":
            return difference
        if self.kl_estimator == "k2":
            return difference.square() / 2
        return (-difference).exp() - 1 + difference


def sampler_difference(old_log_probs: Tensor, sampler_log_probs: Tensor, mask: Tensor) -> Tensor:
    """log π_old - log π_sampler of each token: [B, T]; 0 outside the mask and where either is NaN."""
    difference = old_log_probs - sampler_log_probs
    return torch.where(mask.bool() & ~difference.isnan(), difference, 0.0)
