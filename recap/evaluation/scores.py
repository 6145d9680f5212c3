"""What a capability measured, in a few numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recap.evaluation.outcomes import Outcome, greedy


@dataclass(frozen=True)
class CapabilityScore:
    """What a capability measured.

    Attributes:
        score: mean of the verifier over the greedy completions, in [0, 1].
        standard_error: of that mean over the examples; those of one cluster count as one observation.
        formatted: share of completions with an answer where it should stand (`Capability.answer`): failing to answer in the
            format is not failing to know.
        examples: how many were judged; fewer than asked for where some were malformed, or the source has no more.
        lenient: the mean with the answer looked for everywhere.
        tokens: mean length of the completions.
    """

    score: float
    standard_error: float
    formatted: float
    examples: int
    lenient: float = math.nan
    tokens: float = math.nan


def score_of(rows: Sequence[Outcome]) -> CapabilityScore:
    """The score of a capability, from what came of its examples."""
    asked = [row for row in rows if row.sample == 0]
    judged = greedy(rows)
    scores = [float(row.score) for row in judged if row.score is not None]
    return CapabilityScore(
        score=_mean(scores),
        standard_error=clustered_standard_error(scores, [row.cluster for row in judged]),
        formatted=_mean([float(row.formatted) for row in asked]),
        examples=len(judged),
        lenient=_mean([float(row.lenient) for row in judged if row.lenient is not None]),
        tokens=_mean([float(row.tokens) for row in asked]),
    )


def clustered_standard_error(values: Sequence[float], clusters: Sequence[str]) -> float:
    """Standard error of a mean over n values: sqrt(Σ_c (Σ_{i in c} (v_i − mean))²) / n.

    With clusters of one it is the standard deviation (over n) divided by sqrt(n). Source: Adding Error Bars to Evals
    (arXiv 2411.00640), section 2.2.
    """
    if not values:
        return math.nan
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    deviations = np.asarray(values) - np.mean(values)
    return float(np.sqrt(np.sum(np.bincount(index, weights=deviations) ** 2)) / len(values))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
