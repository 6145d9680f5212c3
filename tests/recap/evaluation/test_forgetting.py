"""Forgetting against hand computation, against its identities, and against simulated models that know or guess."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recap.evaluation.forgetting import (
    above_chance,
    below_peak,
    forgetting_index,
    forgotten,
    forgotten_above_chance,
    gained,
    measures,
    noise_floor,
    pass_at_k,
    retention,
)


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def test_by_hand() -> None:
    before = column(1, 1, 1, 0, 0, 0.5)
    after = column(1, 0, 0, 1, 0, 0.25)
    assert forgotten(before, after) == pytest.approx((1 + 1 + 0.25) / 6)
    assert gained(before, after) == pytest.approx(1 / 6)
    assert retention(before, after) == pytest.approx(2.25 / 3.5)
    assert set(measures(before, after, np.zeros(6))) == {"retention", "forgotten", "gained"}


def test_a_score_of_zero_leaves_nothing_to_forget() -> None:
    assert math.isnan(retention(column(0, 0), column(1, 0)))
    assert math.isnan(retention(np.empty((0, 1)), np.empty((0, 1))))
    assert math.isnan(forgotten(np.empty((0, 1)), np.empty((0, 1))))


SCORES = arrays(float, st.tuples(st.just(5), st.integers(1, 4)), elements=st.floats(0, 1, width=16))


@given(before=SCORES, after=SCORES)
def test_gained_minus_forgotten_is_the_change_of_the_mean(before: np.ndarray, after: np.ndarray) -> None:
    assert gained(before, after) - forgotten(before, after) == pytest.approx(after.mean() - before.mean(), abs=1e-9)
    chance = np.array([0, 0.25, 0.5, 0.2, 0.25])
    difference = forgotten_above_chance(after, before, chance) - forgotten_above_chance(before, after, chance)
    expected = above_chance(after, chance).mean() - above_chance(before, chance).mean()
    assert difference == pytest.approx(expected, abs=1e-9)


def test_samples_give_unbiased_estimates_and_a_floor() -> None:
    """Over 4,000 draws of 3 samples each; the bounds are five standard errors."""
    rng = np.random.default_rng(0)
    p, q = np.array([0.9, 0.5, 0.1, 1.0]), np.array([0.6, 0.5, 0.2, 0.0])
    found, floors = [], []
    for _ in range(4000):
        before = (rng.random((4, 3)) < p[:, None]).astype(float)
        after = (rng.random((4, 3)) < q[:, None]).astype(float)
        found.append(forgotten(before, after))
        floors.append(noise_floor(before))
    for estimates, truth in ((found, (p * (1 - q)).mean()), (floors, (p * (1 - p)).mean())):
        assert abs(np.mean(estimates) - truth) < 5 * np.std(estimates) / math.sqrt(len(estimates))


def test_the_floor_by_hand() -> None:
    assert noise_floor(np.array([[1.0, 0.0, 0.0, 1.0]])) == pytest.approx(0.5 * 0.5 * 4 / 3)
    assert noise_floor(np.array([[1.0, 0.4]])) == pytest.approx(0.6 / 2)  # of two ordered pairs one is a loss
    assert math.isnan(noise_floor(column(1, 0)))


def test_guesses_are_not_forgotten() -> None:
    """A model that knows 60 % before, of which it forgets a quarter, and guesses the rest among four; 400,000 questions."""
    rng = np.random.default_rng(1)
    n = 400_000
    knew = rng.random(n) < 0.6
    knows = np.where(knew, rng.random(n) < 0.75, rng.random(n) < 0.1)
    before, after = ((known | (rng.random(n) < 0.25)).astype(float)[:, None] for known in (knew, knows))
    chance = np.full(n, 0.25)
    assert forgotten(before, after) > 0.17  # 0.1125 of it is knowledge, the rest are guesses
    assert forgotten_above_chance(before, after, chance) == pytest.approx(0.6 * 0.25, abs=0.005)
    assert forgotten_above_chance(after, before, chance) == pytest.approx(0.4 * 0.1, abs=0.005)
    assert above_chance(before, chance).mean() == pytest.approx(0.6, abs=0.005)
    found = measures(before, after, chance)
    assert found["retention_above_chance"] == pytest.approx((0.45 + 0.04) / 0.6, abs=0.01)


def test_pass_at_k_is_the_share_of_subsets_with_a_right_one() -> None:
    samples = np.array([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0.7, 0, 0.2]])
    for k in range(1, 6):
        subsets = [
            np.mean([row[list(some)].max() >= 0.5 for row in samples]) for some in itertools.combinations(range(5), k)
        ]
        assert pass_at_k(samples, k) == pytest.approx(np.mean(subsets))
    with pytest.raises(ValueError, match="pass@6 takes at least 6 samples of an example; there are 5"):
        pass_at_k(samples, 6)


def test_peak_and_index_by_hand() -> None:
    assert below_peak([0.5, 0.8, 0.6]) == pytest.approx(0.2)
    assert below_peak([0.5, 0.8]) == 0
    assert forgetting_index([1.4, 0.5, 0.8]) == pytest.approx(1 - 2.3 / 3)
    assert forgetting_index([math.nan, 0.5, -0.2]) == pytest.approx(0.75)
    assert math.isnan(forgetting_index([]))


@settings(max_examples=30)
@given(st.lists(st.floats(0, 3), min_size=1))
def test_the_index_lies_between_nothing_and_everything(retentions: list[float]) -> None:
    assert 0 <= forgetting_index(retentions) <= 1
