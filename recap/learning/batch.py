"""One process's share of a step, and what is counted over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from recap.data.domains import Domain
from recap.data.objectives import Objective, ObjectiveScope
from recap.learning.advantages import Advantages, Reduce
from recap.learning.loss import StepCounts
from recap.learning.microbatch import SupervisedBatch
from recap.optimization.grpo import GRPO
from recap.rewards.requests import ScoreResult
from recap.rewards.table import RewardTable
from recap.sampling.rollout import Rollout


@dataclass
class Batch:
    """This process's share of one step: rollouts with their rewards, and supervised examples, by micro-batch.

    Attributes:
        cut: prompts that were longer than allowed and lost the start of their question.
        advantages: of the rollouts, once they are known.
    """

    rollouts: list[Rollout]
    rewards: list[RewardTable]
    supervised: list[SupervisedBatch]
    verified: list[ScoreResult]
    cut: int = 0
    advantages: list[Advantages] = field(default_factory=list)

    def release(self) -> None:
        """Lets go of what only the update needed."""
        for rollout in self.rollouts:
            if rollout.prefix is not None:
                rollout.prefix.release()


def count(batch: Batch, zeros: Tensor, grpo: GRPO, max_new_tokens: int, reduce: Reduce) -> tuple[StepCounts, Tensor]:
    """The counts of every (domain, objective) over all processes, and the sum of its rewards, [N, K].

    Args:
        zeros: [N, K], on the device to count on.
        reduce: sums over processes.
    """
    sums = torch.stack([zeros, zeros, zeros])
    units, items, rewards = sums
    for rollout, table in zip(batch.rollouts, batch.rewards, strict=True):
        applies = table.applies.float()
        own = grpo.units(grpo.loss_mask(rollout.completion_mask, rollout.truncated), max_new_tokens)
        units.index_add_(0, table.domain_index, (applies * own.view(*applies.shape[:2], 1)).sum(1))
        items.index_add_(0, table.domain_index, applies.sum(1))
        rewards.index_add_(0, table.domain_index, torch.where(table.applies, table.rewards, 0.0).sum(1))
    for imitated in batch.supervised:
        units.index_add_(0, imitated.domain_index, imitated.applies * imitated.mask.sum(1, keepdim=True))
        items.index_add_(0, imitated.domain_index, imitated.applies)
    units, items, rewards = reduce(sums)
    return StepCounts(units, items), rewards


def mean_rewards(
    counts: StepCounts,
    rewards: Tensor,
    domains: Sequence[Domain],
    objectives: Sequence[Objective],
    scope: ObjectiveScope,
) -> dict[str, float]:
    """Mean reward of every objective that was measured, and of each of its domains as ``domain/objective``."""
    means = {}
    for k, objective in enumerate(objectives):
        if objective.supervised or not counts.present[:, k].any():
            continue
        means[objective.name] = float(rewards[:, k].sum() / counts.items[:, k].sum())
        for n, domain in enumerate(domains):
            if scope == "shared" and counts.present[n, k]:
                means[f"{domain.name}/{objective.name}"] = float(rewards[n, k] / counts.items[n, k])
    return means


def rollout_metrics(batch: Batch, device: torch.device, reduce: Reduce) -> dict[str, float]:
    """Over the completions and targets of all processes, whether or not they were worth a forward."""
    sums = [
        sum(len(rollout.completions) for rollout in batch.rollouts),
        sum(int(rollout.truncated.sum()) for rollout in batch.rollouts),
        sum(int(item.completion_mask.sum()) for item in batch.rollouts)
        + sum(int(item.mask.sum()) for item in batch.supervised),
        sum(result.faults.total() for result in batch.verified),
        sum(result.timeouts.total() for result in batch.verified),
        sum(table.left_out for table in batch.rewards),
        batch.cut,
    ]
    completions, truncated, tokens, faults, timeouts, left_out, cut = reduce(
        torch.tensor(sums, device=device).float()
    ).tolist()
    metrics = {"completion_tokens": tokens}
    if cut:
        metrics["prompts_cut"] = cut
    if completions:
        metrics |= {
            "truncated": truncated / completions,
            "verifier_faults": faults,
            "verifier_timeouts": timeouts,
            "verifier_left_out": left_out,
        }
    return metrics
