"""Verifiers made of others: their arithmetic, what does not apply, and where they run."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gin
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recap.rewards.requests import ScoreRequest
from recap.rewards.workers import RewardWorkers
from registry import load_plugin
from registry.example import Example
from registry.verifiers.base import UNDECIDED, RewardOutOfRange, Undecided, Verifier, is_quick
from registry.verifiers.gate import Gate
from registry.verifiers.product import Product
from registry.verifiers.weighted_sum import WeightedSum

load_plugin(Path(__file__).parents[2] / "recap/rewards/hostile_verifiers.py")
hostile: Any = sys.modules["recap_plugin_hostile_verifiers"]
EXAMPLE = Example(id="1", question="?", answer="4")


class Fixed(Verifier):
    """Always the same, here or in a worker."""

    def __init__(self, reward: float | None, quick: bool = True, applies: bool = True) -> None:
        self.reward = reward
        self.quick = quick

    def __call__(self, completion: str, example: Example) -> float | None:
        return self.reward


class Hasty(Fixed):
    """Slow, with a shortcut that knows."""

    def shortcut(self, completion: str, example: Example) -> float | Undecided | None:
        return self.reward


class Untouchable(Verifier):
    """Must not be asked in full."""

    def __call__(self, completion: str, example: Example) -> float:
        raise AssertionError("asked in full")


rewards = st.none() | st.floats(0, 1)
kinds = st.sampled_from([lambda r: Fixed(r), lambda r: Fixed(r, quick=False), lambda r: Hasty(r, quick=False)])


@given(st.lists(st.tuples(rewards, kinds), min_size=1, max_size=4), st.data())
def test_arithmetic_and_shortcuts(parts: list[Any], data: Any) -> None:
    made = [kind(reward) for reward, kind in parts]
    given_rewards = [reward for reward, _ in parts if reward is not None]
    product = math.prod(given_rewards) if given_rewards else None
    assert Product(made)("x", EXAMPLE) == (product if product is None else pytest.approx(product))

    weights = data.draw(st.lists(st.floats(0.1, 10), min_size=len(parts), max_size=len(parts)))
    pairs = [(weight, reward) for weight, (reward, _) in zip(weights, parts, strict=True) if reward is not None]
    mean = sum(w * r for w, r in pairs) / sum(w for w, _ in pairs) if pairs else None
    assert WeightedSum(made, weights)("x", EXAMPLE) == (mean if mean is None else pytest.approx(mean))

    for judge in (Product(made), WeightedSum(made, weights), Gate(made[0], made[-1], threshold=0.5)):
        short = judge.shortcut("x", EXAMPLE)
        assert short is UNDECIDED or short == judge("x", EXAMPLE)
        assert is_quick(judge) == all(part.quick for part in judge.parts)


@pytest.mark.parametrize(
    ("condition", "reward", "expected"),
    [(1, 0.7, 0.7), (0, 0.7, 0), (0.99, 0.7, 0), (None, 0.7, 0.7), (1, None, None), (0, None, None), (1, 0, 0)],
)
def test_gate(condition: float | None, reward: float | None, expected: float | None) -> None:
    assert Gate(Fixed(condition), Fixed(reward))("x", EXAMPLE) == expected
    assert Gate(Fixed(condition), Hasty(reward, quick=False))("x", EXAMPLE) == expected


def test_gate_threshold() -> None:
    assert Gate(Fixed(0.6), Fixed(0.7), threshold=0.5)("x", EXAMPLE) == 0.7


def test_a_closed_gate_and_a_zero_spare_the_full_check() -> None:
    assert Gate(Fixed(0), Untouchable()).shortcut("x", EXAMPLE) == 0
    assert Gate(Fixed(0), Untouchable())("x", EXAMPLE) == 0
    assert Product([Untouchable(), Fixed(0)]).shortcut("x", EXAMPLE) == 0


def test_a_part_out_of_range_is_no_fault_but_an_error() -> None:
    for judge in (Product([Fixed(2.0)]), WeightedSum([Fixed(2.0), Fixed(0)]), Gate(Fixed(1), Fixed(-1.0))):
        with pytest.raises(RewardOutOfRange, match=rf"a part of {judge.name} gave (2|-1).0: every part must"):
            judge("x", EXAMPLE)
        with RewardWorkers() as workers, pytest.raises(ValueError, match="every part must give a reward"):
            workers.score([ScoreRequest(judge, "x", EXAMPLE)])


@pytest.fixture(scope="module")
def workers() -> Iterator[RewardWorkers]:
    with RewardWorkers(timeout_s=2) as workers:
        yield workers


def test_a_part_that_hangs_is_stopped_with_the_whole(workers: RewardWorkers) -> None:
    judge = Product([hostile.Commanded(), hostile.loops])
    result = workers.score([ScoreRequest(judge, text, EXAMPLE) for text in ("give 0.5", "sleep", "give 0")])
    assert result.rewards == [0.125, 0, 0]
    assert result.timeouts == {"product": 1}


def test_in_gin_with_parts_of_one_kind_and_a_function(workers: RewardWorkers) -> None:
    @gin.configurable("holder_of_parts", module="test")
    def holder(judge: Any) -> Any:
        return judge

    gin.parse_config("""
        test.holder_of_parts.judge = @outer/verifiers.weighted_sum()
        outer/verifiers.weighted_sum.parts = [@verifiers.gate(), @strict/verifiers.tag_order(), @verifiers.hostile_loop]
        outer/verifiers.weighted_sum.weights = [2, 1, 1]
        verifiers.gate.condition = @verifiers.answer_format()
        verifiers.gate.verifier = @verifiers.exact_match()
        strict/verifiers.tag_order.tags = ['answer']
        outer/verifiers.hostile_loop.patience = 0.5
    """)
    try:
        judge = holder()
    finally:
        gin.clear_config()
    result = workers.score(
        [ScoreRequest(judge, text, EXAMPLE) for text in ("<answer>4</answer>", "so <answer>4</answer>")]
    )
    assert not result.faults
    assert result.rewards == [(2 + 1 + 0.25) / 4, 0.25 / 4]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Product([]), "verifiers.product needs at least one verifier"),
        (lambda: Product([Fixed]), r"verifiers.product: .*Fixed.* is no verifier; write @verifiers.name\(\)"),
        (lambda: Gate(Fixed(1), 3), "verifiers.gate: 3 is no verifier"),
        (lambda: Gate(Fixed(1), Fixed(1), threshold=0), r"gate.threshold must lie in \(0, 1\]; it is 0"),
        (lambda: WeightedSum([Fixed(1)], [1, 2]), "weighted_sum.weights must be 1 numbers"),
        (lambda: WeightedSum([Fixed(1)], [-1]), "at least 0 and not all 0"),
        (lambda: WeightedSum([Fixed(1)], [0]), "at least 0 and not all 0"),
        (lambda: WeightedSum([Fixed(1)], [math.nan]), "at least 0 and not all 0"),
    ],
)
def test_settings(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
