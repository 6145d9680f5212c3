"""Windows and exponential averages: the same in the mean age, checked against numpy's weights."""

import numpy as np
import pytest

from registry.reweighting.averages import recent
from registry.reweighting.recap import Recap
from registry.testing import check_reweighting_policy


def by_numpy(history, window, spread):
    ages = np.arange(len(history))[::-1]

    def mean(span, values):
        return np.average(values, weights=(1 - 2 / (span + 1)) ** ages)

    newer, older = mean(window, history), mean(3 * window, history)
    weights = (1 - 2 / (2 * window + 1)) ** ages
    weights /= weights.sum()
    center = newer if spread == "current_mean" else (weights * history).sum()
    return older, newer, np.sqrt((weights * (history - center) ** 2).sum() / (1 - (weights**2).sum()))


@pytest.mark.parametrize("spread", ["current_mean", "window_mean"])
@pytest.mark.parametrize("window", [1, 3, 10])
def test_exponential_against_numpy(window, spread):
    history = np.random.default_rng(window).random(10 * window)
    assert recent(list(history), window, spread, "exponential") == pytest.approx(by_numpy(history, window, spread))


def test_the_mean_ages_are_those_of_the_windows():
    """Of the signals 0, 1, 2, ... a mean is the last one minus the mean age."""
    history = [float(n) for n in range(2000)]
    windows, faded = (recent(history, 10, "current_mean", kind) for kind in ("windows", "exponential"))
    assert windows[:2] == pytest.approx((1999 - 14.5, 1999 - 4.5))
    assert faded[:2] == pytest.approx(windows[:2])


@pytest.mark.parametrize("alpha", [None, 0.0, 1.0])
def test_contract_of_exponential_averages(alpha):
    check_reweighting_policy(
        lambda objectives: Recap(objectives, window=4, alpha=alpha, averages="exponential"), steps=50
    )


def test_exponential_averages_start_with_the_windows_and_tell_who_improves():
    policy = Recap({"rises": "reward", "rests": "reward"}, window=3, temperature=0.5, averages="exponential")
    for step in range(30):
        assert (policy.weights["rises"] == 1) == (step < 6)
        policy.update({"rises": 0.1 + 0.02 * step, "rests": 0.6})
    assert policy.weights["rises"] > 1.1
    assert policy.diagnostics["convergence"]["rests"] == pytest.approx(1)
    assert policy.diagnostics["instability"]["rests"] == pytest.approx(0, abs=1e-12)


def test_an_unknown_kind_of_average():
    with pytest.raises(ValueError, match="averages must be 'windows' or 'exponential'"):
        Recap(["a"], averages="median")
