"""The Pareto front of the two losses, found numerically, and the distance to it."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.spatial import KDTree  # type: ignore[import-untyped]

from recap.studies.two_task.problem import Array, TwoTask

BOX = ((-15.0, 15.0), (-40.0, 15.0))  # at x2 = -40, tanh(x2 / 2) is -1 to the last digit
SPACING = 0.1
HALVINGS = 30  # to a spacing of 1e-10
POINTS = 1001


class ParetoFront:
    """Points of the front in order of L1, joined by straight lines.

    Attributes:
        positions: [m, 2], x of each point.
        losses: [m, 2], (L1, L2) without noise: L1 rises, L2 falls.
    """

    def __init__(self, positions: Array, losses: Array) -> None:
        self.positions, self.losses = positions, losses
        self.ideal, self.nadir = losses.min(axis=0), losses.max(axis=0)
        self._points = self.normalized(losses)
        self._tree = KDTree(self._points)

    def normalized(self, losses: Array) -> Array:
        """Losses in units of the front: 0 at the front's best value of a loss, 1 at its worst."""
        return np.asarray((losses - self.ideal) / (self.nadir - self.ideal), dtype=np.float64)

    def distance(self, losses: Array) -> Array:
        """Euclidean distance to the front in the plane of normalized losses: [..., 2] -> [...]; NaN stays NaN.

        1 is the whole range of one loss along the front. The position x does not matter, only what it attains.
        """
        points = self.normalized(losses).reshape(-1, 2)
        known = np.isfinite(points).all(axis=1)
        found = np.full(len(points), np.nan)
        _, nearest = self._tree.query(points[known])
        last = len(self._points) - 1
        before = self._to_segment(points[known], np.maximum(nearest - 1, 0), nearest)
        after = self._to_segment(points[known], nearest, np.minimum(nearest + 1, last))
        found[known] = np.minimum(before, after)
        return found.reshape(losses.shape[:-1])

    def _to_segment(self, points: Array, start: Array, end: Array) -> Array:
        a, b = self._points[start], self._points[end]
        length = ((b - a) ** 2).sum(axis=1)
        along = ((points - a) * (b - a)).sum(axis=1) / np.where(length > 0, length, 1)
        return np.asarray(
            np.linalg.norm(points - a - np.clip(along, 0, 1)[:, None] * (b - a), axis=1), dtype=np.float64
        )


@cache
def pareto_front(problem: TwoTask) -> ParetoFront:
    """The minima of w·L1 + (1 - w)·L2 over `BOX`, for w evenly from 0 to 1.

    Each is searched on a grid of `SPACING`, then on ever finer ones around the best point so far. Weighted sums find all of
    the front because it is convex; that nothing lies below it is tested, not assumed. The box holds the front of both
    sets of functions: the losses rise beyond |x1| = 15 and x2 = 15, and do not change below x2 = -40.
    """
    w = np.linspace(0, 1, POINTS)
    weights = np.stack([w, 1 - w], axis=1)
    grid = _square(*(np.arange(low, high + SPACING / 2, SPACING) for low, high in BOX))
    on_grid = problem.losses(grid)
    points = np.stack([grid[(on_grid @ weight).argmin()] for weight in weights])
    for spacing in SPACING / 2 ** np.arange(1, HALVINGS + 1):
        near = points[:, None] + _square(spacing * np.arange(-2, 3), spacing * np.arange(-2, 3))
        near = near.clip(*np.transpose(BOX))
        best = np.einsum("mck,mk->mc", problem.losses(near), weights).argmin(axis=1)
        points = near[np.arange(POINTS), best]
    losses = problem.losses(points)
    order = np.argsort(losses[:, 0])
    return ParetoFront(points[order], losses[order])


def _square(x1: Array, x2: Array) -> Array:
    """All pairs: [len(x1) * len(x2), 2]."""
    return np.stack(np.meshgrid(x1, x2, indexing="ij"), axis=-1).reshape(-1, 2)
