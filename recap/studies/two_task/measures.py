"""What is measured of a trajectory, and intervals over seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

from recap.studies.two_task.front import ParetoFront
from recap.studies.two_task.problem import Array

TOLERANCE = 0.01
"""Distance that counts as on the front: one per cent of a loss's range along it."""

TAIL = 500
"""Steps at the end over which staying and oscillation are measured."""


@dataclass(frozen=True)
class Measures:
    """Of n trajectories: [n] each. Distances are `ParetoFront.distance`, of the losses without noise.

    Attributes:
        final_distance: after the last step.
        first_step: the first within `TOLERANCE`, 0 being the start; NaN if there is none.
        stays: whether all of the last `TAIL` steps are within `TOLERANCE`.
        oscillation: root mean square, over the last `TAIL` steps, of how far the normalized losses are from the straight
            line that fits them best as a function of the step, so that sliding evenly along the front does not count.
    """

    final_distance: Array
    first_step: Array
    stays: NDArray[np.bool_]
    oscillation: Array


def measure(front: ParetoFront, losses: Array) -> Measures:
    """losses: [steps + 1, n, 2], without noise."""
    distance = front.distance(losses)
    within = np.asarray(distance <= TOLERANCE)
    first = np.where(within.any(axis=0), within.argmax(axis=0), np.nan)
    return Measures(
        distance[-1], first, np.asarray(within[-TAIL:].all(axis=0)), _oscillation(front.normalized(losses[-TAIL:]))
    )


def _oscillation(losses: Array) -> Array:
    """[t, n, 2] -> [n]."""
    time = np.arange(len(losses)) - (len(losses) - 1) / 2
    centered = losses - losses.mean(axis=0)
    slope = np.einsum("t,tnk->nk", time, centered) / max((time**2).sum(), 1.0)
    residual = centered - time[:, None, None] * slope
    return np.asarray(np.sqrt((residual**2).sum(axis=2).mean(axis=0)), dtype=np.float64)


@dataclass(frozen=True)
class Interval:
    """Mean and half the width of its 95 % t interval; NaN where there are too few values."""

    mean: float
    half_width: float

    @classmethod
    def of(cls, values: Array) -> Interval:
        """values: [n]; NaN are left out."""
        values = values[np.isfinite(values)]
        if not len(values):
            return cls(math.nan, math.nan)
        if len(values) == 1:
            return cls(float(values[0]), math.nan)
        error = float(values.std(ddof=1)) / math.sqrt(len(values))
        return cls(float(values.mean()), float(stats.t.ppf(0.975, len(values) - 1)) * error)
