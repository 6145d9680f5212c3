"""The two losses against a transcription of their formulas and torch's own gradients."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recap.studies.two_task.problem import STARTS, Functions, TwoTask

coordinate = st.floats(-12, 12)


def transcription(x: torch.Tensor, functions: str) -> torch.Tensor:
    """The formulas of CAGrad's example term by term; `clamp` is max(·, c)."""
    x1, x2 = x
    printed = functions == "printed"
    f1 = torch.clamp(torch.tanh(0.5 * x2), min=0)
    f2 = torch.clamp(torch.tanh(-0.5 * x2), min=0)
    g1 = torch.log(torch.clamp(torch.abs(0.5 * (-x1 - 7) - torch.tanh(-x2)), min=5e-6)) + 6
    t2 = -torch.tanh(-x2) if printed else torch.tanh(-x2)
    g2 = torch.log(torch.clamp(torch.abs(0.5 * (-x1 + 3) + t2 + 2), min=5e-6)) + 6
    y = x1 if printed else x2
    h1 = ((-x1 + 7) ** 2 + 0.1 * (-y - 8) ** 2) / 10 - 20
    h2 = ((-x1 - 7) ** 2 + 0.1 * (-y - 8) ** 2) / 10 - 20
    return torch.stack([f1 * g1 + f2 * h1, f1 * g2 + f2 * h2])


def assert_agrees(x: list[float], functions: Functions) -> None:
    problem, tensor = TwoTask(functions), torch.tensor(x, dtype=torch.float64)
    expected = transcription(tensor, functions).numpy()
    np.testing.assert_allclose(problem.losses(np.array(x)), expected, rtol=1e-12, atol=1e-12)
    jacobian = torch.autograd.functional.jacobian(lambda point: transcription(point, functions), tensor)
    np.testing.assert_allclose(problem.gradients(np.array(x)), np.asarray(jacobian), rtol=1e-9, atol=1e-12)


@given(x1=coordinate, x2=coordinate)
def test_printed_losses_and_gradients(x1: float, x2: float) -> None:
    assert_agrees([x1, x2], "printed")


@given(x1=coordinate, x2=coordinate)
def test_losses_and_gradients_of_cagrads_code(x1: float, x2: float) -> None:
    assert_agrees([x1, x2], "cagrad")


@pytest.mark.parametrize("functions", get_args(Functions))
@pytest.mark.parametrize("start", STARTS)
def test_losses_and_gradients_at_the_starts(start: tuple[float, float], functions: Functions) -> None:
    assert_agrees(list(start), functions)


def test_the_start_at_the_kink_can_be_left() -> None:
    assert np.abs(TwoTask().gradients(np.zeros(2))).min() >= 0
    assert np.linalg.norm(TwoTask().gradients(np.zeros(2)), axis=1).min() > 1


def test_many_points_at_once_are_many_points_one_by_one() -> None:
    points = np.random.default_rng(0).uniform(-10, 10, (2, 3, 2))
    problem = TwoTask()
    losses, gradients = problem.losses(points), problem.gradients(points)
    assert losses.shape == (2, 3, 2)
    assert gradients.shape == (2, 3, 2, 2)
    np.testing.assert_array_equal(losses[1, 2], problem.losses(points[1, 2]))
    np.testing.assert_array_equal(gradients[1, 2], problem.gradients(points[1, 2]))


def test_other_functions_are_an_error() -> None:
    with pytest.raises(ValueError, match="printed, cagrad, got 'released'"):
        TwoTask("released")  # type: ignore[arg-type]
