"""Group-normalised advantages, one per objective, or one of the weighted objectives together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

from recap.optimization.grpo import AdvantageScale, WeightsActOn
from recap.rewards.table import RewardTable

EPSILON = 1e-4  # added to the standard deviation, as in GRPO implementations of the field

Reduce = Callable[[Tensor], Tensor]
"""Sums a tensor over all processes."""


@dataclass(frozen=True)
class Advantages:
    """Of the P groups of a rollout.

    Attributes:
        per_objective: [P, G, K], A_k; 0 where objective k does not apply.
        combined: [P, G], of the weighted objectives together; None where λ acts on the loss.
    """

    per_objective: Tensor
    combined: Tensor | None

    @property
    def nonzero(self) -> Tensor:
        """[P, G], true for the completions that have any advantage."""
        found = (self.per_objective != 0).any(-1)
        return found if self.combined is None else found | (self.combined != 0)


def step_advantages(
    tables: Sequence[RewardTable],
    weights: Tensor,
    *,
    num_domains: int,
    scale: AdvantageScale,
    act_on: WeightsActOn,
    reduce: Reduce = lambda sums: sums,
) -> list[Advantages]:
    """Advantages of all rollouts of a step; `reduce` is called equally often on every process.

    Args:
        tables: this process's rewards.
        weights: [K], λ.
        num_domains: N of the experiment.
        reduce: sums over processes, which batch statistics need.
    """
    domains = [table.domain_index for table in tables]

    def normalized(rewards: Sequence[Tensor], applies: Sequence[Tensor], width: int) -> list[Tensor]:
        if scale != "batch":
            return [group_advantages(*pair, scale) for pair in zip(rewards, applies, strict=True)]
        std = batch_std(rewards, applies, domains, weights.new_zeros(num_domains, width), reduce)
        centred = [group_advantages(*pair, "none") for pair in zip(rewards, applies, strict=True)]
        return [part / (std[index][:, None] + EPSILON) for part, index in zip(centred, domains, strict=True)]

    applies = [table.applies for table in tables]
    per_objective = normalized([table.rewards for table in tables], applies, len(weights))
    if act_on == "loss":
        return [Advantages(part, None) for part in per_objective]
    present = [part.any(-1, keepdim=True) for part in applies]
    if act_on == "reward":
        totals = [torch.where(table.applies, weights * table.rewards, 0.0).sum(-1, keepdim=True) for table in tables]
        combined = normalized(totals, present, 1)
    else:
        combined = [(weights * part).sum(-1, keepdim=True) for part in per_objective]
        if act_on == "advantage":
            counts = [part.sum(-1, keepdim=True).clamp(min=1) for part in applies]
            combined = [part / count for part, count in zip(combined, counts, strict=True)]
        else:  # their mean over the batch is 0 already, as every A_k sums to 0 over its group
            std = batch_std(combined, present, domains, weights.new_zeros(num_domains, 1), reduce)
            combined = [part / (std[index][:, None] + EPSILON) for part, index in zip(combined, domains, strict=True)]
    return [Advantages(own, rearrange(part, "p g 1 -> p g")) for own, part in zip(per_objective, combined, strict=True)]


def group_advantages(rewards: Tensor, applies: Tensor, scale: Literal["group", "none"] = "group") -> Tensor:
    """How much better each completion is than its group, objective by objective.

    A = (r - mean(r)) / (std(r) + 1e-4), over the completions of the group to which the objective applies; std is the
    unbiased one. Source: GRPO (arXiv 2402.03300), equation of outcome supervision; ``none`` leaves out the division
    (Dr. GRPO, arXiv 2503.20783). Equal rewards give exactly 0, whatever the rounding of their mean.

    Args:
        rewards: [P, G, K] for P prompts, G completions a prompt, K objectives.
        applies: [P, G, K], false where the reward does not apply; such entries get advantage 0.

    Returns: [P, G, K]; the sum over a group is 0.
    """
    present = applies.to(rewards.dtype)
    highest = torch.where(applies, rewards, -torch.inf).amax(dim=1, keepdim=True)
    lowest = torch.where(applies, rewards, torch.inf).amin(dim=1, keepdim=True)
    rewards = torch.where(applies, rewards, torch.zeros_like(rewards))
    count = present.sum(dim=1, keepdim=True)
    mean = rewards.sum(dim=1, keepdim=True) / count.clamp(min=1)
    centred = ((rewards - mean) * present).masked_fill(highest == lowest, 0.0)
    if scale == "none":
        return centred
    std = (centred.square().sum(dim=1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return centred / (std + EPSILON)


def batch_std(
    values: Sequence[Tensor],
    applies: Sequence[Tensor],
    domain_index: Sequence[Tensor],
    zeros: Tensor,
    reduce: Reduce = lambda sums: sums,
) -> Tensor:
    """Unbiased standard deviation over all completions of a domain in the step, all processes.

    With one domain it is TRL's `scale_rewards = 'batch'`; domains are kept apart because their rewards may have
    different ranges, and ℓ(n, k) is a loss of domain n alone.

    Args:
        values, applies: [P, G, K] of each micro-batch.
        domain_index: [P] of each.
        zeros: [N, K], the shape of the result.

    Returns: [N, K]; 0 where there are fewer than two values.
    """

    def total(parts: Sequence[Tensor]) -> Tensor:
        sums = zeros.clone()
        for part, applied, index in zip(parts, applies, domain_index, strict=True):
            sums.index_add_(0, index, torch.where(applied, part, 0.0).sum(1).to(sums.dtype))
        return reduce(sums)

    count = total([torch.ones_like(part) for part in values])
    mean = total(values) / count.clamp(min=1)
    squares = total([(part - mean[index][:, None]).square() for part, index in zip(values, domain_index, strict=True)])
    return (squares / (count - 1).clamp(min=1)).sqrt()
