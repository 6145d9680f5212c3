"""The table of sampled rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recap.data.domains import Domain
from recap.data.objectives import Objective
from recap.learning.batch import Batch


def rollout_rows(
    batch: Batch, domains: Sequence[Domain], objectives: Sequence[Objective], step: int
) -> list[dict[str, Any]]:
    """One row per prompt of this process, its first completion, domains in turn."""
    rows = []
    for rollout, table in zip(batch.rollouts, batch.rewards, strict=True):
        for p, prompt in enumerate(rollout.prompts):
            rewards = {
                objective.name: round(float(table.rewards[p, 0, k]), 4)
                for k, objective in enumerate(objectives)
                if table.applies[p, 0, k]
            }
            rows.append(
                {
                    "step": step,
                    "domain": domains[int(table.domain_index[p])].name,
                    "example": prompt.example.id,
                    "prompt": prompt.text,
                    "completion": rollout.completions[p * rollout.group_size],
                    "reference": prompt.example.answer,
                    "rewards": str(rewards),
                }
            )
    return rows
