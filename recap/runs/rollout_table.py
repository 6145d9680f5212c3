"""The table of sampled rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recap.data.domains import Domain
from recap.data.objectives import Objective
from recap.learning.batch import Batch


def rollout_rows(
    batch: Batch, domains: Sequence[Domain], objectives: Sequence[Objective], step: int, most: int
) -> list[dict[str, Any]]:
    """One row per prompt of this process, its first completion, domains in turn; of the first `most` prompts."""
    rows: list[dict[str, Any]] = []
    for rollout, table in zip(batch.rollouts, batch.rewards, strict=True):
        shown = rollout.prompts[: most - len(rows)]
        columns = (
            table.domain_index,
            table.rewards[:, 0],
            table.applies[:, 0],
        )  # read at once: each read waits for the device
        found = zip(shown, *(column[: len(shown)].tolist() for column in columns), strict=True)
        for p, (prompt, domain, rewards, applies) in enumerate(found):
            given = {
                objective.name: round(reward, 4)
                for objective, reward, judged in zip(objectives, rewards, applies, strict=True)
                if judged
            }
            rows.append(
                {
                    "step": step,
                    "domain": domains[domain].name,
                    "example": prompt.example.id,
                    "prompt": prompt.text,
                    "completion": rollout.completions[p * rollout.group_size],
                    "reference": prompt.example.answer,
                    "rewards": str(given),
                }
            )
    return rows
