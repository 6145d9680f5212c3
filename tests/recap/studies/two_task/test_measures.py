"""Measures of trajectories made by hand, over a straight front from (0, 1) to (1, 0)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recap.studies.two_task.front import ParetoFront
from recap.studies.two_task.measures import TAIL, Interval, measure

FRONT = ParetoFront(np.zeros((2, 2)), np.array([[0.0, 1.0], [1.0, 0.0]]))


def above(distance: np.ndarray) -> np.ndarray:
    """Losses at this distance from the front's middle: [steps] -> [steps, 1, 2]."""
    return 0.5 + np.repeat(distance[:, None, None], 2, axis=2) / math.sqrt(2)


def test_a_trajectory_that_comes_and_stays() -> None:
    found = measure(FRONT, above(np.concatenate([np.linspace(1, 0, 151), np.zeros(TAIL)])))
    assert found.first_step == [149]  # at distance 1/150; at 148 it is 2/150
    assert found.final_distance == pytest.approx([0], abs=1e-12)
    assert found.stays.all()
    assert found.oscillation == pytest.approx([0], abs=1e-12)


def test_a_trajectory_that_touches_and_leaves() -> None:
    found = measure(FRONT, above(np.concatenate([[1.0, 0.5, 0.0], np.full(TAIL, 0.2)])))
    assert found.first_step == [2]
    assert found.final_distance == pytest.approx([0.2])
    assert not found.stays.any()


def test_a_trajectory_that_never_comes() -> None:
    found = measure(FRONT, above(np.full(TAIL + 1, 0.3)))
    assert np.isnan(found.first_step).all()
    assert not found.stays.any()


def test_a_trajectory_that_was_lost() -> None:
    found = measure(FRONT, np.full((10, 1, 2), np.nan))
    assert np.isnan(found.first_step).all()
    assert np.isnan(found.final_distance).all()
    assert not found.stays.any()


def test_sliding_along_the_front_is_no_oscillation_but_swinging_is() -> None:
    along = np.linspace(0.2, 0.8, TAIL)
    swing = 0.05 * np.sin(2 * np.pi * np.arange(TAIL) / 20)  # whole periods
    slides = np.stack([along, 1 - along], axis=1)
    swings = slides + np.stack([swing, -swing], axis=1)
    found = measure(FRONT, np.stack([slides, swings], axis=1))
    assert found.oscillation[0] == pytest.approx(0, abs=1e-12)
    assert found.oscillation[1] == pytest.approx(0.05, rel=1e-2)  # amplitude / √2 in each of two losses


def test_interval_by_hand() -> None:
    """Mean 2, standard deviation 1, n = 3, t = 4.3027."""
    found = Interval.of(np.array([1.0, 2.0, 3.0, np.nan]))
    assert found.mean == 2
    assert found.half_width == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert math.isnan(Interval.of(np.array([1.0])).half_width)
    assert math.isnan(Interval.of(np.array([np.nan])).mean)
