import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.reweighting.recap import Recap
from registry.reweighting.recap_released import RecapReleased
from registry.testing import check_reweighting_policy

KINDS = {"counting_accuracy": "reward", "boxes_iou": "reward", "reading": "loss"}


def transcribed(histories, kinds, temperature, alpha):
    """The loops of the public code, line by line: full histories (at most 2W values each) -> λ."""

    def branch(newer_first):
        c, i = [], []
        for values in histories.values():
            half = len(values) // 2
            kept = values[-2 * half :]  # of one value [-0:], which is that value
            older, newer = kept[:half], kept[half:]
            if half == 0:
                c.append(1.0)
            elif newer_first:
                c.append(sum(newer) / (sum(older) + 1e-15))
            else:
                c.append(sum(older) / (sum(newer) + 1e-15))
            i.append(np.std(kept) / (np.mean(kept) + 1e-15))
        ec, ei = np.exp(np.array(c) / temperature), np.exp(np.array(i) / temperature)
        return len(histories) * (alpha * ec / ec.sum() + (1 - alpha) * ei / ei.sum())

    rl, sft = branch(newer_first=False), branch(newer_first=True)
    return {name: (sft if kinds[name] == "loss" else rl)[k] for k, name in enumerate(histories)}


def without_mean_one(objectives):
    return {name: "reward" if kind == "shortfall" else kind for name, kind in objectives.items()}


@pytest.mark.parametrize("parameters", [{}, {"window": 1}, {"alpha": 0.0}, {"alpha": "annealed", "steps": 7}])
def test_contract(parameters):
    check_reweighting_policy(lambda objectives: RecapReleased(without_mean_one(objectives), **parameters))


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(st.tuples(*[st.none() | st.floats(0.05, 2)] * 3), min_size=1, max_size=20),
    window=st.integers(1, 5),
    temperature=st.floats(1, 20),
    alpha=st.floats(0, 1),
)
def test_agrees_with_a_transcription_at_every_step_and_with_absences(steps, window, temperature, alpha):
    policy = RecapReleased(KINDS, window=window, temperature=temperature, alpha=alpha)
    histories: dict[str, list[float]] = {}
    for values in steps:
        signals = {name: value for name, value in zip(KINDS, values, strict=True) if value is not None}
        policy.update(signals)
        for name, value in signals.items():
            histories[name] = [*histories.get(name, []), value][-2 * window :]
        expected = dict.fromkeys(KINDS, 1.0) | transcribed(histories, KINDS, temperature, alpha) if histories else None
        if expected:
            assert policy.weights == pytest.approx(expected, rel=1e-9)


def test_by_hand():
    policy = RecapReleased({"accuracy": "reward", "reading": "loss"}, temperature=1.0, alpha=1.0)
    policy.update({"accuracy": 0.5, "reading": 2.0})
    assert policy.weights == {"accuracy": 1.0, "reading": 1.0}  # c = 1 before two values, i = 0
    policy.update({"accuracy": 1.0, "reading": 1.0})
    # reinforcement branch: c = (0.5, 2) as older / newer; supervised branch: c = (2, 0.5) as newer / older
    share = math.exp(0.5) / (math.exp(0.5) + math.exp(2))
    assert policy.weights == pytest.approx({"accuracy": 2 * share, "reading": 2 * share})
    assert not policy.mean_one


def test_of_an_odd_number_of_values_the_first_counts_for_nothing():
    policy = RecapReleased({"a": "reward"}, window=5)
    for value in (9.0, 1.0, 2.0):
        policy.update({"a": value})
    assert policy.diagnostics["convergence"]["a"] == pytest.approx(0.5)
    assert policy.diagnostics["instability"]["a"] == pytest.approx(statistics.pstdev([1, 2]) / 1.5)


def test_annealed_alpha_goes_from_convergence_to_instability():
    # constant signals but for one jump: with α = 1 only c counts, with α = 0 only i
    course = [{"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 3.0}, {"a": 1.0, "b": 3.0}]
    kinds = {"a": "reward", "b": "reward"}
    policy = RecapReleased(kinds, alpha="annealed", steps=2)
    seen = []
    for signals in course:
        policy.update(signals)
        seen.append(policy.weights)
    for number, alpha in enumerate((1.0, 0.5, 0.0), start=1):
        fixed = RecapReleased(kinds, alpha=alpha)
        for signals in course[:number]:
            fixed.update(signals)
        assert seen[number - 1] == pytest.approx(fixed.weights)
    assert seen[1] != pytest.approx(seen[2])


def test_takes_effect_in_the_step_that_was_measured():
    assert RecapReleased.same_step


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (RecapReleased({"a": "reward", "c": "loss"}), "objectives .*'c'.* built with .*'b'"),
        (RecapReleased({"a": "loss", "b": "loss"}), "objectives .*'a': 'loss'"),
        (RecapReleased({"a": "reward", "b": "loss"}, window=3), "window 3, .* built with 10"),
        (Recap({"a": "reward", "b": "loss"}), "not a state of recap_released"),
    ],
)
def test_a_state_of_another_policy_is_refused(other, message):
    with pytest.raises(ValueError, match=message):
        RecapReleased({"a": "reward", "b": "loss"}).load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    ("objectives", "parameters", "message"),
    [
        ({"a": "shortfall"}, {}, "'a' has signal kind 'shortfall'.*train.signal"),
        ({"a": "reward"}, {"window": 0}, "window must be an integer"),
        ({"a": "reward"}, {"temperature": 0.0}, "temperature must be > 0"),
        ({"a": "reward"}, {"alpha": 1.5}, "alpha must be in"),
        ({"a": "reward"}, {"alpha": "annealed"}, "steps must be the number of steps"),
    ],
)
def test_errors(objectives, parameters, message):
    with pytest.raises(ValueError, match=message):
        RecapReleased(objectives, **parameters)
