"""What was forgotten: the table of what the model said before and what it says now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recap.evaluation.outcomes import Outcome, Outcomes, greedy

FOLDER = "forgotten"  # of the tables in MLflow, one file per evaluation


@dataclass(frozen=True)
class Forgotten:
    """A held-out example with a lower score than under the base model: what came of it before, and now."""

    capability: str
    before: Outcome
    now: Outcome

    @property
    def loss(self) -> float:
        """In (0, 1]."""
        return _score(self.before) - _score(self.now)


def forgotten_examples(base: Outcomes, now: Outcomes, most: int) -> list[Forgotten]:
    """Examples with a lower score than under the base model, capabilities in turn, those that lost most first.

    Args:
        most: of each capability.
    """
    shares = [list(_lost(name, base[name], now[name]))[:most] for name in now if name in base]
    longest = max(map(len, shares), default=0)
    return [share[turn] for turn in range(longest) for share in shares if turn < len(share)]


def forgotten_rows(base: Outcomes, now: Outcomes, most: int) -> list[dict[str, Any]]:
    """`forgotten_examples` as the rows of a table."""
    return [
        {
            "capability": found.capability,
            "example": found.now.example,
            "question": found.now.question,
            "reference": found.now.reference,
            "before": found.before.completion,
            "now": found.now.completion,
            "score before": found.before.score,
            "score now": found.now.score,
            "lenient score now": found.now.lenient,
        }
        for found in forgotten_examples(base, now, most)
    ]


def _lost(capability: str, before: list[Outcome], after: list[Outcome]) -> Iterator[Forgotten]:
    were = {(row.position, row.digest): row for row in greedy(before)}
    pairs = [
        Forgotten(capability, were[key], row) for row in greedy(after) if (key := (row.position, row.digest)) in were
    ]
    pairs.sort(key=lambda pair: -pair.loss)  # a stable sort: equal losses by position
    yield from (pair for pair in pairs if pair.loss > 0)


def _score(row: Outcome) -> float:
    return 0.0 if row.score is None else row.score
