"""The Pareto front against random points, closed forms and scipy's minimiser."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from scipy.optimize import minimize

from recap.studies.two_task.front import ParetoFront, pareto_front
from recap.studies.two_task.problem import Functions, TwoTask

BOTH = pytest.mark.parametrize("functions", get_args(Functions))


@BOTH
def test_no_random_point_lies_below_the_front(functions: Functions) -> None:
    problem = TwoTask(functions)
    front = pareto_front(problem)
    random = np.random.default_rng(0)
    everywhere = random.uniform([-20, -60], [20, 20], (200_000, 2))
    near = front.positions[random.integers(len(front.positions), size=200_000)] + random.normal(0, 0.3, (200_000, 2))
    losses = problem.losses(np.concatenate([everywhere, near]))
    assert (losses >= front.ideal - 1e-9).all()
    below = losses[:, 1] < np.interp(losses[:, 0], *front.losses.T, right=-np.inf)
    assert front.distance(losses[below]).max() < 1e-6  # the bow of the curve over its chords


@BOTH
def test_no_point_of_the_front_dominates_another(functions: Functions) -> None:
    losses = pareto_front(TwoTask(functions)).losses
    assert len(losses) > 500
    assert (np.diff(losses[:, 0]) > 0).all()
    assert (np.diff(losses[:, 1]) < 0).all()


def test_the_printed_front_in_closed_form() -> None:
    """At x2 -> -∞ the losses are h1 and h2, whose minima are at 12.4 / 2.2 and -15.6 / 2.2; all between is the front."""
    front = pareto_front(TwoTask("printed"))
    x1 = np.linspace(12.4 / 2.2, -15.6 / 2.2, 501)
    h = np.stack([((peak - x1) ** 2 + 0.1 * (x1 + 8) ** 2) / 10 - 20 for peak in (7, -7)], axis=1)
    assert front.distance(h).max() < 1e-6
    np.testing.assert_allclose([front.losses[0], front.losses[-1]], [h[0], h[-1]], atol=1e-6)


@BOTH
def test_minima_of_weighted_sums_lie_on_the_front(functions: Functions) -> None:
    problem = TwoTask(functions)
    for weight in (0.1, 0.3, 0.5, 0.7, 0.9):
        found = minimize(
            lambda x, w=weight: float(problem.losses(x) @ [w, 1 - w]),
            x0=[0.0, -8.0],
            method="Nelder-Mead",
            bounds=[(-15, 15), (-40, 15)],
            options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 5000},
        )
        assert pareto_front(problem).distance(problem.losses(found.x)) < 1e-4


def test_distance_by_hand() -> None:
    """A straight front from (0, 10) to (20, 0): normalized, from (0, 1) to (1, 0)."""
    losses = np.array([[0.0, 10.0], [10.0, 5.0], [20.0, 0.0]])
    front = ParetoFront(np.zeros((3, 2)), losses)
    points = np.array([[5.0, 7.5], [20.0, 10.0], [40.0, 0.0], [0.0, 25.0], [np.nan, 0.0]])
    np.testing.assert_allclose(front.distance(points), [0, np.sqrt(0.5), 1, 1.5, np.nan], atol=1e-15)
