import itertools
import json
import math
import sys
from pathlib import Path

import gin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import reweighting_policies
from registry.reweighting.numerics import MAX_RATE
from registry.reweighting.recap import Recap
from registry.testing import assert_weights_valid, check_reweighting_policy

ROOT = Path(__file__).parents[3]
VARIANTS = list(itertools.product(("v2", "v1"), ("current_mean", "window_mean"), (None, 0.0, 0.3, 1.0), (10.0, None)))


def fed(histories, kinds=None, **parameters):
    """A policy that has seen these histories, given as objective -> values, oldest first."""
    policy = Recap(kinds or list(histories), **parameters)
    for values in zip(*histories.values(), strict=True):
        policy.update(dict(zip(histories, values, strict=True)))
    return policy


def transcribed(histories, kinds, window, temperature, alpha, convergence, spread):
    """The formulas of the paper, written down again with numpy: objective -> c, i and s; objective -> weight."""
    rates = {}
    for name, values in histories.items():
        last = np.asarray(values)[-2 * window :]
        mu_tilde, mu = last[:window].mean(), last[window:].mean()
        sigma = np.sqrt(((last - mu) ** 2).sum() / (2 * window - 1)) if spread == "current_mean" else last.std(ddof=1)
        c = mu / mu_tilde if kinds[name] == "reward" else mu_tilde / mu
        if convergence == "v1":
            c = 1 / c
        c, i = min(c, 10.0), min(sigma / (mu + mu_tilde), 10.0)
        rates[name] = (c, i, c + i if alpha is None else alpha * c + (1 - alpha) * i)
    exponentials = np.exp(np.array([s for _, _, s in rates.values()]) / temperature)
    lam = len(histories) * exponentials / exponentials.sum()
    return rates, dict(zip(histories, lam, strict=True))


# ---- the contract


@pytest.mark.parametrize(("convergence", "spread", "alpha", "rate_limit"), VARIANTS)
def test_contract_of_every_variant(convergence, spread, alpha, rate_limit):
    parameters = {"alpha": alpha, "convergence": convergence, "spread": spread, "rate_limit": rate_limit}
    check_reweighting_policy(lambda objectives: Recap(objectives, window=4, **parameters), steps=25)


@pytest.mark.parametrize("rate_limit", [10.0, 5e-324, sys.float_info.max, None])
@pytest.mark.parametrize("parameters", [{}, {"window": 1}, {"temperature": 0.1}, {"temperature": 5e-324}])
def test_contract_at_the_ends(parameters, rate_limit):
    check_reweighting_policy(lambda objectives: Recap(objectives, rate_limit=rate_limit, **parameters))


# ---- the formula


@st.composite
def positive_histories(draw):
    window = draw(st.integers(1, 6))
    values = st.lists(st.floats(1e-3, 1e3), min_size=2 * window, max_size=2 * window + 3)
    kinds = draw(st.lists(st.sampled_from(["reward", "shortfall", "loss"]), min_size=1, max_size=4))
    length = len(first := draw(values))
    rest = [draw(st.lists(st.floats(1e-3, 1e3), min_size=length, max_size=length)) for _ in kinds[1:]]
    names = [f"objective_{k}" for k in range(len(kinds))]
    return window, dict(zip(names, [first, *rest], strict=True)), dict(zip(names, kinds, strict=True))


@settings(max_examples=150, deadline=None)
@given(
    drawn=positive_histories(),
    temperature=st.floats(0.2, 30),
    alpha=st.none() | st.floats(0, 1),
    convergence=st.sampled_from(["v2", "v1"]),
    spread=st.sampled_from(["current_mean", "window_mean"]),
)
def test_agrees_with_a_transcription_of_the_paper(drawn, temperature, alpha, convergence, spread):
    window, histories, kinds = drawn
    policy = fed(
        histories, kinds, window=window, temperature=temperature, alpha=alpha, convergence=convergence, spread=spread
    )
    rates, lam = transcribed(histories, kinds, window, temperature, alpha, convergence, spread)
    assert policy.weights == pytest.approx(lam, rel=1e-9)
    for position, quantity in enumerate(("convergence", "instability", "score")):
        expected = {name: rate[position] for name, rate in rates.items()}
        assert policy.diagnostics[quantity] == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_by_hand():
    # falling: means 4 and 2, c = 4/2; around 2 the squares are 9, 1, 0, 0, i = sqrt(10/3) / (4 + 2)
    # constant: c = 1, i = 0
    policy = fed({"falling": [5, 3, 2, 2], "constant": [7, 7, 7, 7]}, window=2, temperature=1.0)
    i = math.sqrt(10 / 3) / 6
    assert policy.diagnostics["convergence"] == {"falling": 2.0, "constant": 1.0}
    assert policy.diagnostics["instability"] == {"falling": pytest.approx(i), "constant": 0.0}
    share = math.exp(2 + i) / (math.exp(2 + i) + math.exp(1))
    assert policy.weights == {"falling": pytest.approx(2 * share), "constant": pytest.approx(2 - 2 * share)}


def test_spread_is_around_the_current_mean_or_around_all():
    histories = {"a": [3, 3, 1, 1]}
    # around 1: (4 + 4)/3; around 2: 4/3. The sum of the two means is 4.
    assert fed(histories, window=2).diagnostics["instability"]["a"] == pytest.approx(math.sqrt(8 / 3) / 4)
    around_all = fed(histories, window=2, spread="window_mean")
    assert around_all.diagnostics["instability"]["a"] == pytest.approx(math.sqrt(4 / 3) / 4)


@pytest.mark.parametrize(("kind", "values"), [("reward", [0.2, 0.4]), ("shortfall", [0.8, 0.4]), ("loss", [2.0, 1.0])])
def test_improving_is_above_one_for_every_kind_and_v1_is_the_inverse(kind, values):
    v2 = fed({"a": values}, {"a": kind}, window=1).diagnostics["convergence"]["a"]
    v1 = fed({"a": values}, {"a": kind}, window=1, convergence="v1").diagnostics["convergence"]["a"]
    assert (v2, v1) == (2.0, 0.5)


def test_names_alone_mean_losses():
    assert Recap(["a", "b"]).signal_kinds == {"a": "loss", "b": "loss"}


def test_alpha_one_half_at_t_five_is_the_sum_at_t_ten():
    histories = {"a": [3, 1, 2, 1], "b": [1, 2, 1, 2], "c": [5, 1, 1, 1]}
    half = fed(histories, window=2, alpha=0.5, temperature=5.0).weights
    assert half == pytest.approx(fed(histories, window=2, temperature=10.0).weights, rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    drawn=positive_histories(),
    temperature=st.floats(0.5, 20),
    towards=st.lists(st.floats(0.001, 1), min_size=4, max_size=4),
)
def test_theorem_1_the_weights_maximise_score_plus_entropy(drawn, temperature, towards):
    window, histories, kinds = drawn
    policy = fed(histories, kinds, window=window, temperature=temperature)
    score = np.array([policy.diagnostics["score"][name] for name in histories])

    def gain(p):
        return p @ score + temperature * -(p * np.log(p)).sum()

    best = np.array([policy.weights[name] for name in histories]) / len(histories)
    other = np.array(towards[: len(histories)]) / sum(towards[: len(histories)])
    assert gain(best) >= gain(other) - 1e-9


def test_a_high_temperature_is_uniform():
    policy = fed({"a": [3, 1], "b": [1, 3]}, window=1, temperature=1e12)
    assert policy.weights == pytest.approx({"a": 1.0, "b": 1.0})


@settings(max_examples=50, deadline=None)
@given(drawn=positive_histories(), exponent=st.integers(-900, 900))
def test_the_unit_of_a_signal_does_not_matter(drawn, exponent):
    window, histories, kinds = drawn
    scaled = {name: [math.ldexp(x, exponent) for x in values] for name, values in histories.items()}
    assert fed(scaled, kinds, window=window).weights == fed(histories, kinds, window=window).weights


PINNED_HISTORIES = {
    "accuracy": [0.10, 0.14, 0.12, 0.20, 0.22, 0.25],
    "answer_format": [0.2, 0.5, 0.8, 0.9, 1.0, 1.0],
    "iou": [0.50, 0.45, 0.48, 0.40, 0.42, 0.41],
    "next_token_prediction": [2.0, 1.8, 1.9, 1.5, 1.4, 1.2],
}
PINNED_KINDS = {"accuracy": "reward", "answer_format": "reward", "iou": "shortfall", "next_token_prediction": "loss"}
PINNED = [  # parameters, weights in the order above; W = 3
    ({}, (1.0661136977, 1.0900789337, 0.8944764653, 0.9493309034)),
    ({"temperature": 1.0}, (1.2931773107, 1.4452074558, 0.5376319266, 0.7239833069)),
    ({"alpha": 0.5}, (1.0333803411, 1.0449305030, 0.9465485462, 0.9751406097)),
    ({"convergence": "v1"}, (0.9882437067, 0.9919776833, 1.0170482631, 1.0027303469)),
    ({"spread": "window_mean"}, (1.0619698037, 1.0867926214, 0.8998643553, 0.9513732196)),
]


@pytest.mark.parametrize(("parameters", "expected"), PINNED)
def test_pinned_values(parameters, expected):
    policy = fed(PINNED_HISTORIES, PINNED_KINDS, window=3, **parameters)
    assert tuple(policy.weights.values()) == pytest.approx(expected, abs=1e-9)


# ---- before the history is full, and where objectives are absent


def test_weights_are_one_until_the_history_is_full():
    policy = Recap(["a", "b"], window=3)
    for step in range(5):
        policy.update({"a": 1.0 + step, "b": 1.0})
        assert policy.weights == {"a": 1.0, "b": 1.0}
        assert policy.diagnostics["score"] == {}
    policy.update({"a": 6.0, "b": 1.0})
    assert policy.weights["a"] != 1.0


def test_only_the_last_two_windows_count():
    early = fed({"a": [900, 1e-3, 3, 1], "b": [1, 1, 2, 2]}, window=1)
    assert early.weights == fed({"a": [3, 1], "b": [2, 2]}, window=1).weights


def test_an_objective_with_a_short_history_stays_at_one_and_the_full_ones_share_the_rest():
    policy = Recap(["a", "b", "late"], window=1)
    policy.update({"a": 2.0, "b": 1.0})
    policy.update({"a": 1.0, "b": 1.0, "late": 1.0})
    assert policy.weights["late"] == 1.0
    expected = fed({"a": [2, 1], "b": [1, 1]}, window=1).weights
    assert {name: policy.weights[name] for name in ("a", "b")} == expected
    assert_weights_valid(policy)


def test_the_history_of_an_absent_objective_does_not_advance():
    policy = fed({"a": [2, 1], "b": [1, 1]}, window=1)
    before = policy.diagnostics["score"]["a"]
    for value in (1.0, 2.0, 3.0):
        policy.update({"b": value})
        assert policy.diagnostics["score"]["a"] == before
    policy.update({"a": 1.0})
    assert policy.diagnostics["convergence"]["a"] == 1.0


def test_one_objective_always_has_weight_one():
    assert fed({"a": [5, 1, 4, 2]}, window=2, temperature=0.1).weights == {"a": 1.0}


# ---- numbers that the paper does not speak of


@pytest.mark.parametrize("kind", ["reward", "shortfall", "loss"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, -0.1, 1e-300, -1e300])
def test_a_constant_series_neither_converges_nor_varies(kind, value):
    policy = fed({"a": [value] * 20, "b": [1.0] * 20}, {"a": kind, "b": "loss"})
    assert policy.diagnostics["convergence"]["a"] == 1.0
    assert policy.diagnostics["instability"]["a"] == pytest.approx(0.0, abs=1e-15)
    assert policy.weights == pytest.approx({"a": 1.0, "b": 1.0})


@pytest.mark.parametrize(
    ("kind", "values", "c"),
    [
        ("reward", [0.0, 0.5], MAX_RATE),  # earned for the first time
        ("reward", [0.5, 0.0], 0.0),  # lost
        ("shortfall", [0.5, 0.0], MAX_RATE),  # solved
        ("shortfall", [0.0, 0.5], 0.0),
        ("loss", [1.0, 1e-9], MAX_RATE),
        ("loss", [-10.0, -12.0], 1 + 2 / 12),  # improving below 0
        ("loss", [-12.0, -10.0], 1 - 2 / 10),
        ("loss", [1.0, -1.0], 3.0),  # improving across 0
        ("loss", [-1.0, 1.0], 0.0),
        ("reward", [-4.0, -2.0], 1.5),
        ("reward", [-1.0, 1.0], 3.0),
    ],
)
def test_convergence_of_means_that_are_zero_or_negative(kind, values, c):
    assert fed({"a": values}, {"a": kind}, window=1).diagnostics["convergence"]["a"] == pytest.approx(c)


@settings(max_examples=200, deadline=None)
@given(older=st.floats(-5, 5), newer=st.floats(-5, 5), kind=st.sampled_from(["reward", "shortfall", "loss"]))
def test_above_one_means_improving_whatever_the_sign(older, newer, kind):
    c = fed({"a": [older, newer]}, {"a": kind}, window=1).diagnostics["convergence"]["a"]
    improved = newer > older if kind == "reward" else newer < older
    assert c >= 1.0 if improved else c <= 1.0
    assert 0 <= c <= MAX_RATE


def test_instability_of_means_that_are_zero_or_negative():
    def instability(values):
        return fed({"a": values}, window=2).diagnostics["instability"]["a"]

    assert instability([1, -1, 1, -1]) == MAX_RATE  # both means 0, yet it varies
    assert instability([-5, -3, -2, -2]) == pytest.approx(instability([5, 3, 2, 2]))
    assert instability([3, 3, -3, -3]) == pytest.approx(math.sqrt(72 / 3) / 6)  # μ + μ̃ = 0


def test_a_mean_near_zero_cannot_take_everything():
    # its score is at most 20 and that of the constant is 1: at T = 5 the constant keeps 2 / (1 + exp(19/5)) or more
    policy = fed({"a": [1.0, -1.0, 1e-12, -1e-13], "b": [1, 1, 1, 1]}, window=2)
    assert policy.diagnostics["score"]["a"] <= 2 * MAX_RATE
    assert policy.weights["b"] >= 2 / (1 + math.exp(19 / 5)) - 1e-12


def test_ordinary_instability_does_not_reach_the_bound():
    # the largest relative spread of values >= 0 is that of a single spike; see the docstring for 1 + sqrt(W / 2)
    spike = [0.0] * 19 + [1.0]
    for history in (spike, spike[::-1]):
        for spread in ("current_mean", "window_mean"):
            assert fed({"a": history}, spread=spread).diagnostics["instability"]["a"] < 1 + math.sqrt(5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_signal_that_is_not_finite_is_counted_and_otherwise_absent(bad):
    policy = fed({"a": [2, 1], "b": [1, 1]}, window=1)
    weights = policy.weights
    assert policy.diagnostics["ignored"] == {}
    policy.update({"a": bad})
    policy.update({"a": bad, "b": 1.0})
    assert policy.weights == weights
    assert policy.diagnostics["ignored"] == {"a": 2.0}


EXTREME = st.sampled_from([0.0, -0.0, 1.0, 5e-324, 1e-300, 1e300, sys.float_info.max]).flatmap(
    lambda size: st.sampled_from([size, -size])
)


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.dictionaries(st.sampled_from("abc"), st.floats() | EXTREME), max_size=20)
    | st.lists(st.fixed_dictionaries(dict.fromkeys("abc", EXTREME)), min_size=4, max_size=8),
    temperature=st.floats(1e-3, 1e3),
    rate_limit=st.none() | st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    spread=st.sampled_from(["current_mean", "window_mean"]),
)
def test_any_floats_leave_the_weights_valid(steps, temperature, rate_limit, spread):
    policy = Recap(
        {"a": "reward", "b": "shortfall", "c": "loss"},
        window=2,
        temperature=temperature,
        rate_limit=rate_limit,
        spread=spread,
    )
    for signals in steps:
        policy.update(signals)
        assert_weights_valid(policy, str(signals))


# ---- the bound on the rates


@pytest.mark.parametrize("rate_limit", [0.5, 3.0, 100])
def test_rates_are_cut_at_the_limit(rate_limit):
    histories = {
        "solved": [1, 1, 0, 0],
        "nearly": [1, 1, 1e-3, 1e-3],
        "centred": [1, -1, 1, -1],
        "worse": [-1, -1, 1, 1],
    }
    rates = fed(histories, window=2, rate_limit=rate_limit).diagnostics
    assert rates["convergence"] == {
        "solved": rate_limit,
        "nearly": rate_limit,
        "centred": min(1.0, rate_limit),
        "worse": 0.0,
    }
    assert rates["instability"]["centred"] == rate_limit


@pytest.mark.parametrize(
    ("kind", "values", "c"),
    [
        ("loss", [1.0, 1e-9], 1e9),
        ("reward", [1e-9, 1.0], 1e9),
        ("loss", [-3.0, 1.0], -3.0),  # the bare ratio, which is below 0 where a loss rises across it
        ("loss", [1.0, -1e-3], 1002.0),  # 1 + (1 + 0.001) / 0.001
        ("loss", [-1.0, -1e-3], -998.0),
        ("loss", [1e300, 1e-300], MAX_RATE),  # 0 in the unit of the largest
        ("loss", [0.5, 0.0], MAX_RATE),
        ("loss", [-0.5, 0.0], 0.0),
        ("loss", [0.0, 0.0], 1.0),
        ("loss", [1.0, 1e-310], sys.float_info.max / 2),  # would overflow
        ("loss", [1.0, -1e-310], sys.float_info.max / 2),
        ("loss", [-1.0, 1e-310], -sys.float_info.max / 2),
    ],
)
def test_convergence_without_a_limit(kind, values, c):
    policy = fed({"a": values}, {"a": kind}, window=1, rate_limit=None)
    assert policy.diagnostics["convergence"]["a"] == pytest.approx(c)


def test_instability_without_a_limit():
    def instability(values):
        return fed({"a": values}, window=2, spread="window_mean", rate_limit=None).diagnostics["instability"]["a"]

    # both means 0.01; around it the squares are 0.99² four times
    assert instability([1, -0.98, 1, -0.98]) == pytest.approx(math.sqrt(4 * 0.99**2 / 3) / 0.02)
    assert instability([1, -1, 1, -1]) == MAX_RATE  # σ / 0
    assert instability([0, 0, 0, 0]) == 0.0


def test_two_scores_that_would_overflow_share_the_weights():
    histories = {"a": [1.0, 1e-310], "b": [1.0, 1e-309], "c": [1.0, 1.0]}
    for rate_limit in (None, sys.float_info.max):
        weights = fed(histories, window=1, rate_limit=rate_limit).weights
        assert weights == {"a": 1.5, "b": 1.5, "c": 0.0}


# ---- state


def test_the_state_is_plain_enough_for_json():
    policy = fed(PINNED_HISTORIES, PINNED_KINDS, window=4)
    resumed = Recap(PINNED_KINDS, window=4)
    resumed.load_state_dict(json.loads(json.dumps(policy.state_dict())))
    for signals in ({"accuracy": 0.3, "iou": 0.3}, {"accuracy": 0.1, "iou": 0.2}):
        policy.update(signals)
        resumed.update(signals)
    assert resumed.weights == policy.weights != dict.fromkeys(PINNED_KINDS, 1.0)


def test_the_limit_is_the_policys_own_as_its_temperature_is():
    histories = {"a": [100.0, 1.0], "b": [1.0, 1.0]}
    limited = fed(histories, window=1)
    unlimited = Recap(["a", "b"], window=1, rate_limit=None)
    unlimited.load_state_dict(limited.state_dict())
    assert unlimited.weights == fed(histories, window=1, rate_limit=None).weights != limited.weights


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Recap(["a", "c"], window=2), r"objectives .*'c'.* built with .*'b'"),
        (Recap({"a": "reward", "b": "loss"}, window=2), r"objectives .*'reward'"),
        (Recap(["a", "b"], window=3), r"window 3, .* built with 2"),
    ],
)
def test_a_state_of_another_policy_is_refused(other, message):
    with pytest.raises(ValueError, match=message):
        Recap(["a", "b"], window=2).load_state_dict(other.state_dict())


@pytest.mark.parametrize("state", [{}, {"weights": {"a": 1.0}}])
def test_something_that_is_no_state_of_recap_is_refused(state):
    with pytest.raises(ValueError, match="not a state of recap"):
        Recap(["a"]).load_state_dict(state)


# ---- parameters


@pytest.mark.parametrize(
    ("parameter", "value", "rule"),
    [
        ("window", 0, "integer >= 1"),
        ("window", 2.5, "integer >= 1"),
        ("temperature", 0.0, "> 0"),
        ("temperature", math.inf, "finite"),
        ("temperature", "5", "finite"),
        ("alpha", 1.5, r"in \[0, 1\]"),
        ("alpha", math.nan, r"in \[0, 1\]"),
        ("convergence", "v3", "'v2' or 'v1'"),
        ("spread", "mean", "'current_mean' or 'window_mean'"),
        ("rate_limit", 0.0, "None or a finite number > 0"),
        ("rate_limit", -1.0, "None or a finite number > 0"),
        ("rate_limit", math.inf, "None or a finite number > 0"),
        ("rate_limit", math.nan, "None or a finite number > 0"),
        ("rate_limit", "10", "None or a finite number > 0"),
    ],
)
def test_a_parameter_out_of_range_is_named_with_its_rule_and_value(parameter, value, rule):
    with pytest.raises(ValueError, match=rf"recap: {parameter} must .*{rule}.*got {value!r}"):
        Recap(["a"], **{parameter: value})


# ---- ours: floor and smoothing


def test_floor_is_the_least_weight_and_keeps_the_mean():
    histories = {"a": [9, 1], "b": [1, 1], "c": [1, 9]}
    plain = fed(histories, window=1, temperature=0.5).weights
    floored = fed(histories, window=1, temperature=0.5, floor=0.25).weights
    assert floored == pytest.approx({name: 0.25 + 0.75 * weight for name, weight in plain.items()})
    assert min(plain.values()) < 0.01
    assert min(floored.values()) >= 0.25


def test_smoothing_is_an_average_over_the_steps_that_starts_at_one():
    plain, smooth = (
        Recap(["a", "b"], window=1, temperature=1.0),
        Recap(["a", "b"], window=1, temperature=1.0, smoothing=0.8),
    )
    expected = 1.0
    for a, b in [(1.0, 1.0), (0.5, 1.0), (0.1, 1.0), (0.1, 2.0), (0.2, 1.0)]:
        plain.update({"a": a, "b": b})
        smooth.update({"a": a, "b": b})
        expected = 0.8 * expected + 0.2 * plain.weights["a"]
        assert smooth.weights["a"] == pytest.approx(expected)


@pytest.mark.parametrize("parameters", [{"floor": 0.3}, {"smoothing": 0.9}, {"floor": 0.1, "smoothing": 0.5}])
def test_contract_with_floor_and_smoothing(parameters):
    check_reweighting_policy(lambda objectives: Recap(objectives, window=3, temperature=0.2, **parameters))


@pytest.mark.parametrize("parameters", [{"floor": 1.0}, {"floor": -0.1}, {"smoothing": 1.0}, {"smoothing": math.nan}])
def test_floor_and_smoothing_outside_their_range(parameters):
    with pytest.raises(ValueError, match=f"recap: {next(iter(parameters))} must be in"):
        Recap(["a"], **parameters)


# ---- Algorithm 2 to the letter


def algorithm_2(history, window, temperature):
    """λ by the pseudocode: losses of each objective, oldest first; None before the history is full."""
    if any(len(losses) < 2 * window for losses in history.values()):
        return None
    recent = np.array([losses[-2 * window :] for losses in history.values()])  # [K, 2W]
    mu_tilde, mu = recent[:, :window].mean(axis=1), recent[:, window:].mean(axis=1)
    sigma = recent.std(axis=1, ddof=1)
    s = (mu_tilde / mu + sigma / (mu + mu_tilde)) / temperature
    exponentials = np.exp(s - s.max())
    return len(s) * exponentials / exponentials.sum()


def literal(names, **parameters):
    return Recap(names, spread="window_mean", rate_limit=None, **parameters)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(*[st.floats(0.01, 1)] * 3), min_size=1, max_size=25),
    window=st.integers(1, 6),
    temperature=st.floats(0.5, 20),
)
def test_literal_algorithm_2_at_every_step(steps, window, temperature):
    names = ["a", "b", "c"]
    policy = literal(names, window=window, temperature=temperature)
    history = {name: [] for name in names}
    for number, values in enumerate(steps, start=1):
        losses = dict(zip(names, values, strict=True))
        policy.update(losses)
        for name, value in losses.items():
            history[name].append(value)
        expected = algorithm_2(history, window, temperature)
        if number < 2 * window:
            assert expected is None
            assert policy.weights == dict.fromkeys(names, 1.0)
        else:
            assert list(policy.weights.values()) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@st.composite
def fast_histories(draw, window):
    """Losses of either sign around windows of positive mean; those of `fast` fall twentyfold or more."""
    level = st.floats(0.01, 1)
    levels = {"fast": (draw(st.floats(2, 5)), draw(st.floats(0.01, 0.1))), "b": draw(st.tuples(level, level))}
    swings = st.lists(st.floats(-1, 1), min_size=window, max_size=window)
    return {
        name: [mean + x - math.fsum(swing) / window for mean in means for swing in [draw(swings)] for x in swing]
        for name, means in levels.items()
    }


@settings(max_examples=200, deadline=None)
@given(data=st.data(), window=st.integers(1, 10), temperature=st.floats(5, 100))
def test_literal_algorithm_2_where_the_rates_exceed_ten(data, window, temperature):
    history = data.draw(fast_histories(window))
    policy = literal(list(history), window=window, temperature=temperature)
    for losses in zip(*history.values(), strict=True):
        policy.update(dict(zip(history, losses, strict=True)))
    assert policy.diagnostics["convergence"]["fast"] > MAX_RATE
    expected = algorithm_2(history, window, temperature)
    assert list(policy.weights.values()) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_shipped_file_is_algorithm_2(monkeypatch):
    monkeypatch.chdir(ROOT)  # where its include starts
    gin.clear_config()
    reweighting_policies.load_builtins()
    gin.parse_config_file("experiments/reweighting/recap_literal.gin", skip_unknown=True)  # `train` is the engine's
    policy = reweighting_policies.build("recap", ["a", "b"])
    gin.clear_config()
    history = {"a": [2.0, 3.0] * 5 + [0.1, 0.2] * 5, "b": [1.0, 1.1] * 10}  # c of a: 2.5 / 0.15
    for a, b in zip(*history.values(), strict=True):
        policy.update({"a": a, "b": b})
    assert list(policy.weights.values()) == pytest.approx(algorithm_2(history, 10, 5.0), rel=1e-9)
