"""Outcomes as arrays, for statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recap.evaluation.outcomes import Outcome, Outcomes


@dataclass(frozen=True)
class ScoreTable:
    """The scores of one capability at one evaluation: n examples, in the order of their positions.

    Attributes:
        positions: in the capability's source.
        examples: ids.
        digests: of questions and pictures.
        clusters: what they belong to.
        scores: [n, m], of m completions each.
        chance: [n], the score of a guess.
    """

    positions: tuple[int, ...]
    examples: tuple[str, ...]
    digests: tuple[str, ...]
    clusters: tuple[str, ...]
    scores: NDArray[np.float64]
    chance: NDArray[np.float64]

    def select(self, rows: Sequence[int]) -> ScoreTable:
        """Some of the examples, by row."""
        texts = ([column[row] for row in rows] for column in (self.examples, self.digests, self.clusters))
        examples, digests, clusters = map(tuple, texts)
        positions = tuple(self.positions[row] for row in rows)
        chosen = list(rows)
        return ScoreTable(positions, examples, digests, clusters, self.scores[chosen], self.chance[chosen])

    def means(self) -> NDArray[np.float64]:
        """[n], over the completions of an example."""
        means: NDArray[np.float64] = self.scores.mean(1)
        return means


def score_table(rows: Sequence[Outcome], *, lenient: bool = False, sampled: bool = False) -> ScoreTable:
    """The examples whose every completion was judged.

    Args:
        rows: what came of one capability.
        lenient: the scores with the answer looked for everywhere.
        sampled: of the samples; otherwise of the greedy completion, m = 1.
    """
    found: dict[int, list[Outcome]] = {}
    for row in rows:
        if (row.sample > 0) == sampled:
            found.setdefault(row.position, []).append(row)
    scores: list[list[float]] = []
    firsts: list[Outcome] = []
    for _, group in sorted(found.items()):
        values = [row.lenient if lenient else row.score for row in sorted(group, key=lambda row: row.sample)]
        judged = [value for value in values if value is not None]
        if len(judged) == len(values):
            scores.append(judged)
            firsts.append(group[0])
    most = max(map(len, scores), default=1)
    return ScoreTable(
        positions=tuple(row.position for row in firsts),
        examples=tuple(row.example for row in firsts),
        digests=tuple(row.digest for row in firsts),
        clusters=tuple(row.cluster for row in firsts),
        scores=np.array(scores, dtype=np.float64).reshape(len(scores), most),
        chance=np.array([row.chance for row in firsts], dtype=np.float64),
    )


def matched(first: ScoreTable, second: ScoreTable) -> tuple[ScoreTable, ScoreTable]:
    """The examples that both tables have, by position and content, in one order."""
    keys = [list(zip(table.positions, table.digests, strict=True)) for table in (first, second)]
    places = [{key: row for row, key in enumerate(found)} for found in keys]
    both = [key for key in keys[0] if key in places[1]]
    return first.select([places[0][key] for key in both]), second.select([places[1][key] for key in both])


def matched_tables(
    base: Outcomes, now: Outcomes, *, lenient: bool = False, sampled: bool = False
) -> Iterator[tuple[str, ScoreTable, ScoreTable]]:
    """Every capability that both evaluations have examples of in common: its name, and these examples before and after.

    Args:
        lenient, sampled: as of `score_table`.
    """
    for name in (name for name in now if name in base):
        tables = (score_table(rows[name], lenient=lenient, sampled=sampled) for rows in (base, now))
        before, after = matched(*tables)
        if before.scores.size:
            yield name, before, after
