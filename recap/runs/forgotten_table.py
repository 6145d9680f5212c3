"""The table of forgotten examples: what the model said before, and what it says now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recap.evaluation.outcomes import Outcome, Outcomes, greedy

FOLDER = "forgotten"  # of the tables in MLflow, one file per evaluation


def forgotten_rows(base: Outcomes, now: Outcomes, most: int) -> list[dict[str, Any]]:
    """Examples with a lower score than under the base model, capabilities in turn, those that lost most first.

    Args:
        most: of each capability.
    """
    shares = [list(_lost(name, base[name], now[name]))[:most] for name in now if name in base]
    longest = max(map(len, shares), default=0)
    return [share[turn] for turn in range(longest) for share in shares if turn < len(share)]


def _lost(capability: str, before: list[Outcome], after: list[Outcome]) -> Iterator[dict[str, Any]]:
    were = {(row.position, row.digest): row for row in greedy(before)}
    pairs = [(were[key], row) for row in greedy(after) if (key := (row.position, row.digest)) in were]
    pairs.sort(key=lambda pair: _score(pair[1]) - _score(pair[0]))  # a stable sort: equal losses by position
    for was, now in pairs:
        if _score(now) < _score(was):
            yield {
                "capability": capability,
                "example": now.example,
                "question": now.question,
                "reference": now.reference,
                "before": was.completion,
                "now": now.completion,
                "score before": was.score,
                "score now": now.score,
                "lenient score now": now.lenient,
            }


def _score(row: Outcome) -> float:
    return 0.0 if row.score is None else row.score
