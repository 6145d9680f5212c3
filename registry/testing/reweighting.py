"""What every reweighting policy promises, as functions for tests."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Callable, Mapping, Sequence

from registry.reweighting.base import ReweightingPolicy, SignalKind
from registry.testing.report import Check, run_checks

BuildReweighting = Callable[[Mapping[str, SignalKind]], ReweightingPolicy]
"""Builds a reweighting policy for a mapping objective -> signal kind; the class itself will often do."""

Signals = dict[str, float]

OBJECTIVES: dict[str, SignalKind] = {
    "accuracy": "reward",
    "answer_format": "reward",
    "iou": "shortfall",
    "next_token_prediction": "loss",
}
"""The objectives that the properties are tried on: each signal kind is there."""

STEPS = 60
"""Steps per property: enough to fill the history of a window of 10 twice over, with absences."""

MEAN_TOLERANCE = 1e-9


def check_reweighting_policy(
    build: BuildReweighting,
    objectives: Mapping[str, SignalKind] = OBJECTIVES,
    steps: int = STEPS,
    seed: int = 0,
) -> None:
    """Runs every property of this module that a reweighting policy owes, in the manner of scikit-learn's check_estimator.

    Args:
        build: makes a new policy for a mapping objective -> signal kind.
        objectives: what to build it with; yours, if the policy asks for certain names.
        steps: number of updates per property; more than the history that the policy keeps.
        seed: of the random signals, and of the step at which a run is interrupted.

    Raises:
        AssertionError: what is broken, all of it: each promise with what was found and what to do.
    """
    name = type(build(objectives)).__name__
    run_checks(name, "reweighting policy", CHECKS, build, objectives, steps, seed)


def random_signals(objectives: Mapping[str, SignalKind], steps: int, seed: int, presence: float = 1.0) -> list[Signals]:
    """Signals of a made-up run: rewards and shortfalls in [0, 1], losses in [0, 3).

    Args:
        presence: the chance that an objective takes part in a step.
    """
    rng = random.Random(seed)
    return [
        {
            name: rng.random() * (3.0 if kind == "loss" else 1.0)
            for name, kind in objectives.items()
            if rng.random() < presence
        }
        for _ in range(steps)
    ]


def assert_weights_valid(policy: ReweightingPolicy, when: str = "") -> None:
    """Every objective has a weight, finite and >= 0, of mean 1 where `mean_one`; diagnostics are finite too."""
    weights = policy.weights
    assert set(weights) == set(policy.objectives), f"{when}: weights of {list(weights)}, objectives {policy.objectives}"
    for name, weight in weights.items():
        assert 0 <= weight < math.inf, f"{when}: the weight of {name!r} is {weight!r}"
    if policy.mean_one:
        mean = math.fsum(weights.values()) / len(weights)
        assert abs(mean - 1) <= MEAN_TOLERANCE, f"{when}: the weights {weights} have mean {mean!r}, not 1"
    for quantity, series in policy.diagnostics.items():
        unknown = set(series) - set(policy.objectives)
        assert not unknown, f"{when}: diagnostics {quantity!r} of {sorted(unknown)}, which are no objectives"
        for name, value in series.items():
            assert math.isfinite(value), f"{when}: diagnostics {quantity!r} of {name!r} is {value!r}"
    beta = policy.kl_coefficient
    assert beta is None or 0 <= beta < math.inf, f"{when}: kl_coefficient is {beta!r}"


def assert_ordinary_signals(
    build: BuildReweighting, objectives: Mapping[str, SignalKind] = OBJECTIVES, steps: int = STEPS, seed: int = 0
) -> None:
    """The weights are valid before the first update and after each."""
    _assert_valid_throughout(build(objectives), random_signals(objectives, steps, seed))


def assert_absent_objective(
    build: BuildReweighting, objectives: Mapping[str, SignalKind] = OBJECTIVES, steps: int = STEPS, seed: int = 0
) -> None:
    """The weights cover objectives absent now and then, from the start, from some step on, or all at once."""
    _assert_valid_throughout(build(objectives), random_signals(objectives, steps, seed, presence=0.6))
    _assert_valid_throughout(build(objectives), [{}] * 3)
    signals = random_signals(objectives, steps, seed)
    for absent in objectives:
        rest = [{name: value for name, value in step.items() if name != absent} for step in signals]
        _assert_valid_throughout(build(objectives), rest)
        _assert_valid_throughout(build(objectives), signals[: steps // 2] + rest[steps // 2 :])


def assert_non_finite_signals(
    build: BuildReweighting, objectives: Mapping[str, SignalKind] = OBJECTIVES, steps: int = STEPS, seed: int = 0
) -> None:
    """NaN and inf, now and then in any objective or always in one, never reach the weights."""
    rng = random.Random(seed)
    bad = (math.nan, math.inf, -math.inf)
    signals = [
        {name: rng.choice(bad) if rng.random() < 0.2 else value for name, value in step.items()}
        for step in random_signals(objectives, steps, seed)
    ]
    _assert_valid_throughout(build(objectives), signals)
    for name in objectives:
        for value in bad:
            _assert_valid_throughout(build(objectives), [{**step, name: value} for step in signals])


def assert_extreme_signals(
    build: BuildReweighting, objectives: Mapping[str, SignalKind] = OBJECTIVES, steps: int = STEPS, seed: int = 0
) -> None:
    """Zeros, negative values, constants, jumps and the largest and smallest floats leave the weights valid."""
    signals = random_signals(objectives, steps, seed)
    for value in (0.0, -0.0, 1.0, -1.0, 5e-324, 1e-200, 1e200, -1.7976931348623157e308):
        _assert_valid_throughout(build(objectives), [dict.fromkeys(objectives, value)] * steps)
        for name in objectives:
            constant = [{**step, name: value} for step in signals]
            _assert_valid_throughout(build(objectives), constant)
            _assert_valid_throughout(build(objectives), signals[: steps // 2] + constant[steps // 2 :])
    centred = [{name: value - 0.5 for name, value in step.items()} for step in signals]
    _assert_valid_throughout(build(objectives), centred)


def assert_processes_agree(
    build: BuildReweighting, objectives: Mapping[str, SignalKind] = OBJECTIVES, steps: int = STEPS, seed: int = 0
) -> None:
    """Two policies that see the same signals, named in another order, hold the same weights at every step."""
    first, second = build(objectives), build(objectives)
    for number, signals in enumerate(random_signals(objectives, steps, seed, presence=0.8)):
        _update(first, signals)
        _update(second, dict(reversed(signals.items())))
        assert first.weights == second.weights, (
            f"step {number}: {first.weights} in one process, {second.weights} in another"
        )


def assert_reading_changes_nothing(
    build: BuildReweighting, objectives: Mapping[str, SignalKind] = OBJECTIVES, steps: int = STEPS, seed: int = 0
) -> None:
    """Weights read twice are the same, and writing into what was read, or into the signals given, changes nothing."""
    policy = build(objectives)
    for number, signals in enumerate(random_signals(objectives, steps, seed)):
        _update(policy, signals)
        weights = dict(policy.weights)
        policy.weights.clear()
        signals.clear()
        for series in policy.diagnostics.values():
            series.clear()
        assert policy.weights == weights, f"step {number}: read {weights}, then {policy.weights}"


def assert_state_round_trip(
    build: BuildReweighting, objectives: Mapping[str, SignalKind] = OBJECTIVES, steps: int = STEPS, seed: int = 0
) -> None:
    """A run interrupted at a random step and resumed from its `state_dict` goes on with exactly the same weights.

    The state must survive pickling, and must be a copy: the run that it was taken from goes on first. It is loaded into
    a new policy and into one that has seen other signals.
    """
    signals = random_signals(objectives, steps, seed, presence=0.8)
    for cut in (0, random.Random(seed).randrange(1, steps), steps - 1):
        policy = build(objectives)
        for step in signals[:cut]:
            _update(policy, step)
        state = policy.state_dict()
        saved = pickle.dumps(state)
        expected = _course(policy, signals[cut:])
        assert state == pickle.loads(saved), (
            f"the state taken at step {cut} changed as the run went on: it must be a copy"
        )

        for history in ([], random_signals(objectives, steps, seed + 1)):
            resumed = build(objectives)
            for step in history:
                _update(resumed, step)
            state = pickle.loads(saved)
            resumed.load_state_dict(state)
            resumed_course = _course(resumed, signals[cut:])
            for number, (ours, theirs) in enumerate(zip(resumed_course, expected, strict=True), start=cut):
                assert ours == theirs, (
                    f"interrupted at step {cut}, at step {number}: {ours} resumed, {theirs} uninterrupted"
                )
            assert state == pickle.loads(saved), "a state that was loaded must not change as the run goes on: copy it"


def assert_unknown_objective_rejected(
    build: BuildReweighting, objectives: Mapping[str, SignalKind] = OBJECTIVES, steps: int = STEPS, seed: int = 0
) -> None:
    """A signal of an unknown objective raises a ValueError that names it, and nothing of that step is kept."""
    unknown = "no_such_objective"
    policy = build(objectives)
    for number, signals in enumerate(random_signals(objectives, steps, seed)):
        weights, state = dict(policy.weights), pickle.dumps(policy.state_dict())
        message = None
        try:
            policy.update({**signals, unknown: 0.5})
        except ValueError as error:
            message = str(error)
        assert message is not None, f"step {number}: a signal of the unknown objective {unknown!r} was accepted"
        assert unknown in message, f"the error must name the unknown objective {unknown!r}: {message}"
        assert policy.weights == weights, f"step {number}: a rejected update changed the weights"
        assert policy.state_dict() == pickle.loads(state), f"step {number}: a rejected update changed the state"
        _update(policy, signals)


def _update(policy: ReweightingPolicy, signals: Signals) -> None:
    """A step as a trainer makes it: where the policy asks for gradient norms, the sizes of the signals stand for them."""
    if policy.needs_gradient_norms:
        policy.observe_gradient_norms({name: abs(value) for name, value in signals.items()})
    policy.update(signals)


def _assert_valid_throughout(policy: ReweightingPolicy, signals: Sequence[Mapping[str, float]]) -> None:
    assert_weights_valid(policy, "before the first update")
    for number, step in enumerate(signals):
        _update(policy, dict(step))
        assert_weights_valid(policy, f"step {number}, signals {step}")


def _course(policy: ReweightingPolicy, signals: Sequence[Mapping[str, float]]) -> list[tuple[object, ...]]:
    """Weights, diagnostics and KL coefficient now and after each step."""
    course: list[tuple[object, ...]] = []
    for step in ({}, *signals):
        if course:
            _update(policy, dict(step))
        course.append((dict(policy.weights), policy.diagnostics, policy.kl_coefficient))
    return course


CHECKS: tuple[Check, ...] = (
    (
        assert_ordinary_signals,
        "give a finite weight >= 0 for every objective, before the first update too; divide by their mean, or set"
        " `mean_one = False` in the class (registry.reweighting.numerics.mean_one)",
    ),
    (
        assert_absent_objective,
        "an objective whose domain was not drawn is missing from `signals`: keep what you know of it, and its weight",
    ),
    (
        assert_non_finite_signals,
        "skip a signal that is not math.isfinite(value), as if its objective were absent: a run outlives a NaN in one loss",
    ),
    (
        assert_extreme_signals,
        "bound what you divide by and what you raise to a power: losses can be 0, negative or huge"
        " (registry.reweighting.numerics: clamp, ratio, softmax)",
    ),
    (
        assert_processes_agree,
        "every process computes λ by itself: go by the order of self.objectives, not of `signals`, and draw random numbers from"
        " a random.Random(seed) of your own",
    ),
    (
        assert_reading_changes_nothing,
        "`weights` and `diagnostics` must only read, and give a new dict each time; copy from `signals` what you keep",
    ),
    (
        assert_state_round_trip,
        "give everything that `update` changes in state_dict, as copies, and take it, copied, in load_state_dict: a resumed run"
        " is to go on as if it had never stopped",
    ),
    (
        assert_unknown_objective_rejected,
        "begin `update` with self.check_known(signals): a misspelt objective would otherwise have no weight",
    ),
)
"""What a reweighting policy promises, and what to do where it does not hold."""
