"""The study is the same for the same seeds, however many processes share it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from recap.studies.two_task.measures import Measures
from recap.studies.two_task.methods import Method
from recap.studies.two_task.problem import STARTS
from recap.studies.two_task.study import Outcome, Settings, run_method, run_methods

RECAP, UNIFORM = Method("recap", "policy", "recap"), Method("uniform", "policy", "uniform")
BROKEN = Method("broken", "policy", "recap", {"window": 0})
SETTINGS = Settings(steps=40, seeds=2)


def assert_same(one: Outcome, other: Outcome) -> None:
    assert one.method == other.method
    np.testing.assert_array_equal(one.drawn, other.drawn)
    for mine, yours in zip(one.measures, other.measures, strict=True):
        for measure in fields(Measures):
            np.testing.assert_array_equal(getattr(mine, measure.name), getattr(yours, measure.name))


def outcomes(results: object) -> list[Outcome]:
    found = list(results)  # type: ignore[call-overload]
    assert all(isinstance(result, Outcome) for result in found), found
    return found


def test_two_workers_find_what_one_finds() -> None:
    methods = [RECAP, UNIFORM]
    alone = outcomes(run_methods(methods, SETTINGS))
    shared = outcomes(run_methods(methods, SETTINGS, workers=2))
    for one, other in zip(alone, shared, strict=True):
        assert_same(one, other)


def test_a_seed_is_the_same_among_more_seeds_and_another_seed_is_not() -> None:
    few, many = run_method(RECAP, SETTINGS), run_method(RECAP, Settings(steps=40, seeds=3))
    assert_same(few, run_method(RECAP, SETTINGS))
    np.testing.assert_array_equal(few.drawn, many.drawn)
    for mine, yours in zip(few.measures, many.measures, strict=True):
        np.testing.assert_array_equal(mine.final_distance, yours.final_distance[:2])
    finals = np.stack([measures.final_distance for measures in many.measures])
    assert (np.ptp(finals, axis=1) > 0).any()


def test_shapes_of_an_outcome() -> None:
    outcome = run_method(UNIFORM, SETTINGS)
    assert outcome.seeds == 2
    assert outcome.drawn.shape == (5, len(STARTS), 2)
    np.testing.assert_array_equal(outcome.drawn[0], STARTS)
    assert len(outcome.measures) == len(STARTS)
    assert outcome.measures[0].final_distance.shape == (2,)
    assert outcome.weight_spread == 0


def test_alpha_a_half_at_t_5_is_t_10() -> None:
    """α = 0.5 halves the score, which is T = 10 on s = c + i."""
    half = run_method(Method("a", "alpha", "recap", {"alpha": 0.5}), SETTINGS)
    ten = run_method(Method("t", "temperature", "recap", {"temperature": 10.0}), SETTINGS)
    np.testing.assert_allclose(half.drawn, ten.drawn, rtol=1e-12)


def test_a_method_that_fails_leaves_the_others() -> None:
    results = list(run_methods([BROKEN, UNIFORM], SETTINGS))
    assert isinstance(results[0], RuntimeError)
    assert "broken failed: ValueError: recap: window must" in str(results[0])
    assert isinstance(results[1], Outcome)


CRASHING = '''
import os

from registry import reweighting_policies
from registry.reweighting.uniform import Uniform


@reweighting_policies.register("crashing")
class Crashing(Uniform):
    """Takes its process with it, as a fault in compiled code would."""

    def update(self, signals):
        os._exit(11)
'''


def test_a_method_whose_process_dies_leaves_the_others(tmp_path: Path) -> None:
    plugin = tmp_path / "crashing.py"
    plugin.write_text(CRASHING)
    methods = [Method("crashing", "policy", "crashing"), UNIFORM]
    results = list(run_methods(methods, SETTINGS, workers=2, plugins=[str(plugin)]))
    assert isinstance(results[0], RuntimeError)
    assert "crashing failed: its process ended, exit code 11" in str(results[0])
    assert isinstance(results[1], Outcome)


@pytest.mark.parametrize("name", ["steps", "seeds"])
def test_settings_out_of_range(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        Settings(**{name: 0})
