"""Statistics against hand computation, against closed forms, and against experiments whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from recap.evaluation.scores import clustered_standard_error
from recap.evaluation.statistics import (
    crossed_interval,
    detectable,
    detectable_within,
    difference,
    equivalence_p,
    holm,
    sign_flip_p,
    t_interval,
    t_p,
    transitions,
)

NAMES = [str(n) for n in range(1000)]


def two_degrees(t: float) -> float:
    """P(T > t) of Student's t with two degrees of freedom, which has a closed form."""
    return 0.5 - t / (2 * math.sqrt(2 + t * t))


def test_t_by_hand() -> None:
    found = np.array([0.1, 0.2, 0.3])
    low, high = t_interval(found)
    assert (low, high) == (pytest.approx(0.2 - 4.302653 * 0.1 / 3**0.5), pytest.approx(0.2 + 4.302653 * 0.1 / 3**0.5))
    assert t_p(found) == pytest.approx(2 * two_degrees(0.2 / (0.1 / 3**0.5)))


def test_every_way_to_flip_the_signs() -> None:
    assert sign_flip_p(np.array([0.1, 0.2, 0.3])) == pytest.approx(2 / 2**3)
    assert sign_flip_p(np.array([0.3, -0.1, 0.2])) == pytest.approx(4 / 2**3)  # 0.6, 0.4 and their negatives
    assert sign_flip_p(np.full(6, 0.01)) == pytest.approx(2 / 2**6)
    assert sign_flip_p(np.zeros(4)) == 1


def test_mcnemar_is_the_binomial_of_those_that_changed() -> None:
    before = np.array([True] * 10 + [False] * 9)
    after = np.array([True] * 9 + [False] + [True] * 6 + [False] * 3)
    found = transitions(before, after)
    assert (found.kept, found.lost, found.gained, found.neither) == (9, 1, 6, 3)
    assert found.p == pytest.approx(2 * (1 + 7) / 2**7)
    assert transitions(before, before).p == 1


def test_equivalence_is_the_worse_of_two_one_sided_tests() -> None:
    found = np.array([0.01, -0.01, 0.02])
    error = found.std(ddof=1) / 3**0.5
    worse = two_degrees((0.05 - found.mean()) / error)
    assert equivalence_p(found, 0.05) == pytest.approx(worse)
    assert equivalence_p(found, 0.05) < 0.05 < equivalence_p(found, 0.02)


def test_holm_by_hand() -> None:
    found = holm([0.01, 0.04, math.nan, 0.03])
    assert found[:2] + found[3:] == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(found[2])
    assert holm([]) == []


def test_power_is_what_statsmodels_says() -> None:
    from statsmodels.stats.power import TTestPower

    for count in (3, 5, 8, 20):
        found = np.random.default_rng(count).normal(size=count)
        expected = TTestPower().solve_power(nobs=count, alpha=0.05, power=0.8)
        assert detectable(found) / found.std(ddof=1) == pytest.approx(expected, rel=1e-3)
    assert detectable_within(256, 0.1) == pytest.approx(0.055, abs=0.001)
    assert detectable_within(1024, 0.1) == pytest.approx(0.028, abs=0.001)


def test_the_crossed_interval_has_the_variance_of_both_factors() -> None:
    """With differences a_s + b_e and no noise V is s_a² / S + s_b² / E, with Satterthwaite's degrees of freedom."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 0.1, 5), rng.normal(0, 0.5, 40)
    low, high = crossed_interval(a[:, None] + b[None, :], NAMES[:40])
    parts = np.array([a.var(ddof=1) / 5, b.var(ddof=1) / 40])
    degrees = parts.sum() ** 2 / (parts**2 / np.array([4, 39])).sum()
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, degrees) * math.sqrt(parts.sum()))
    assert (high + low) / 2 == pytest.approx(a.mean() + b.mean())


def test_the_crossed_interval_counts_noise_once() -> None:
    """Of noise alone: two standard errors of a mean of S E values; a bootstrap over both factors has 1.7 times that."""
    noise = np.random.default_rng(4).normal(0, 1, (20, 400))
    low, high = crossed_interval(noise, NAMES[:400])
    assert (high - low) / 2 == pytest.approx(2.0 / math.sqrt(20 * 400), rel=0.3)


def test_clusters_of_unequal_size_count_by_their_examples() -> None:
    """With seeds that agree, V is that of a mean of clusters of unequal size: the clustered standard error, squared."""
    row = np.random.default_rng(5).normal(0.2, 0.3, 60)
    names = [str(min(n, 40)) for n in range(60)]  # one of twenty, forty of one
    low, high = crossed_interval(np.tile(row, (4, 1)), names)
    error = clustered_standard_error(row.tolist(), names) * math.sqrt(41 / 40)  # C / (C - 1): from a sample of clusters
    assert (low + high) / 2 == pytest.approx(row.mean())
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 40) * error)


def test_examples_of_one_cluster_are_one_observation() -> None:
    rng = np.random.default_rng(1)
    once = rng.normal(0, 0.3, (4, 30))
    four = np.repeat(once, 4, axis=1)
    names = [str(n // 4) for n in range(120)]
    expected = crossed_interval(once, NAMES[:30])
    assert crossed_interval(four, names) == pytest.approx(expected)
    narrow = crossed_interval(four, NAMES[:120])
    assert narrow.high - narrow.low < 0.7 * (expected.high - expected.low)


def test_a_single_seed_gives_no_inference() -> None:
    found = difference(np.array([[0.0, 1.0, 0.0]]), NAMES[:3], 0.1)
    assert found.seeds == 1
    assert found.mean == pytest.approx(1 / 3)
    values = (*found.interval, *found.crossed, found.p_t, found.p_sign_flip, found.p_equivalent, found.detectable)
    assert all(math.isnan(value) for value in values)


def test_no_difference_anywhere() -> None:
    found = difference(np.zeros((3, 5)), NAMES[:5], 0.01)
    assert found.interval == found.crossed == (0, 0)
    assert (found.p_t, found.p_sign_flip, found.p_equivalent, found.detectable) == (1, 1, 0, 0)


def made_up(rng: np.random.Generator, effect: float, seeds: int = 6, examples: int = 40) -> tuple[np.ndarray, float]:
    """Differences of right and wrong answers of two policies, and the effect on these examples alone."""
    skill = rng.uniform(0.3, 0.7, examples)
    own = rng.normal(0, 0.1, examples)  # what the policy does to each example, beside what it does to all
    luck = rng.normal(0, 0.04, (2, seeds, 1))
    with_policy = rng.random((seeds, examples)) < skill + effect + own + luck[0]
    without = rng.random((seeds, examples)) < skill + luck[1]
    return with_policy.astype(float) - without.astype(float), effect + own.mean()


def test_made_up_experiments_in_short() -> None:
    """120 experiments; the bounds lie four standard errors from the nominal rates. The long version is in test_comparison."""
    rng = np.random.default_rng(2)
    covered, crossed, found = [], [], []
    for _ in range(120):
        differences, here = made_up(rng, effect=0.0)
        result = difference(differences, NAMES[:40], None)
        covered.append(result.interval.low <= here <= result.interval.high)
        crossed.append(result.crossed.low <= 0 <= result.crossed.high)
        found.append(difference(made_up(rng, effect=0.3)[0], NAMES[:40], None).p_t < 0.05)
    assert np.mean(covered) >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / 120)
    assert abs(np.mean(crossed) - 0.95) <= 4 * math.sqrt(0.95 * 0.05 / 120)
    assert np.mean(found) > 0.9
