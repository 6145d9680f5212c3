"""Two models on the same examples: the mean difference, and how sure it is of these two models."""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy import stats

from recap.evaluation.score_table import ScoreTable, matched
from recap.evaluation.scores import clustered_standard_error
from recap.evaluation.statistics import CONFIDENCE


class Paired(NamedTuple):
    """The mean difference of two scores of the same examples, and half of its 95 % interval."""

    mean: float
    half: float

    @property
    def sign(self) -> int:
        """−1 or 1 where the interval leaves out 0; else 0."""
        return 0 if not abs(self.mean) > self.half else int(math.copysign(1, self.mean))

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ± {self.half:.3f}"


def paired(after: ScoreTable, before: ScoreTable) -> Paired:
    """after − before over the examples of both, with an interval by Student's t over clusters of examples."""
    ours, theirs = matched(after, before)
    differences = list(ours.means() - theirs.means())
    clusters = len(set(ours.clusters))
    if clusters < 2:
        return Paired(float(differences[0]) if differences else math.nan, math.inf)
    wide = float(stats.t.ppf((1 + CONFIDENCE) / 2, clusters - 1))
    error = clustered_standard_error(differences, ours.clusters) * math.sqrt(clusters / (clusters - 1))
    return Paired(float(sum(differences) / len(differences)), wide * error)
