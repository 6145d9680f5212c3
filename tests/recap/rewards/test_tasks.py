"""What is sent to worker processes, and what is not."""

import functools
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gin
import pytest

from recap.rewards.requests import ScoreRequest
from recap.rewards.tasks import plan
from recap.rewards.workers import RewardWorkers
from registry import load_plugin
from registry.example import Example
from registry.sendable import sendable
from registry.verifiers.base import Verifier

load_plugin(Path(__file__).parent / "hostile_verifiers.py")
hostile: Any = sys.modules["recap_plugin_hostile_verifiers"]

FOUR = Example(id="sums/1", question="?", answer="4")
FIVE = Example(id="sums/2", question="?", answer="5")


@pytest.fixture(scope="module")
def workers() -> Iterator[RewardWorkers]:
    with RewardWorkers(timeout_s=2) as workers:
        yield workers


@pytest.fixture(autouse=True)
def _no_bindings() -> Iterator[None]:
    yield
    gin.clear_config()


def test_a_function_of_a_users_own_cannot_hold_the_run(workers: RewardWorkers) -> None:
    result = workers.score([ScoreRequest(hostile.loops, completion, FOUR) for completion in ("loop", "go")])
    assert result.rewards == [0, 0.25]
    assert list(result.errors) == [0]
    assert result.timeouts.total() == 1


def test_a_class_of_a_users_own_is_not_called_here_unless_it_says_that_it_is_quick() -> None:
    class Unsaid(Verifier):
        def __call__(self, completion: str, example: Example) -> float:
            raise AssertionError("called in the training process")

    with pytest.raises(ValueError, match=r"'Unsaid' .* cannot be sent to a worker .*quick = True in its class"):
        plan([ScoreRequest(Unsaid(), "a", FOUR)])


def test_a_function_bound_in_gin_arrives_with_its_bindings(workers: RewardWorkers) -> None:
    @gin.configurable("holder_of_judges", module="test")
    def holder(judges: Any) -> Any:
        return judges

    gin.parse_config(
        "test.holder_of_judges.judges = [@verifiers.hostile_loop, @soon/verifiers.hostile_loop]\n"
        "soon/verifiers.hostile_loop.patience = 0.75"
    )
    plain, scoped = holder()
    result = workers.score([ScoreRequest(plain, "go", FOUR), ScoreRequest(scoped, "go", FOUR)])
    assert result.rewards == [0.25, 0.75]


def test_a_bound_function_still_says_that_it_is_quick() -> None:
    @gin.configurable("holder_of_a_quick_one", module="test")
    def holder(judge: Any) -> Any:
        return judge

    gin.parse_config(
        "test.holder_of_a_quick_one.judge = @verifiers.hostile_quick\nverifiers.hostile_quick.reward = 0.75"
    )
    judge = pickle.loads(pickle.dumps(sendable(holder())))
    assert judge.quick
    assert "__wrapped__" not in judge.__dict__
    assert judge("go", FOUR) == 0.75


def test_what_a_user_wrapped_is_sent_as_wrapped() -> None:
    assert sendable(wrapped) is wrapped
    assert sendable(hostile.loops) is hostile.loops
    judge = hostile.Ranked()
    assert sendable(judge) is judge


def test_a_group_is_judged_together_and_keeps_its_equal_completions(workers: RewardWorkers) -> None:
    judge = hostile.Ranked()
    asked = [("a", FOUR), ("b", FIVE), ("b", FOUR), ("a", FOUR), ("a", FIVE)]
    result = workers.score([ScoreRequest(judge, completion, example) for completion, example in asked])
    assert result.rewards == [2 / 3, 1, 1, 2 / 3, 0.5]


def test_a_group_that_fails_leaves_the_others_their_rewards(workers: RewardWorkers) -> None:
    judge = hostile.Ranked()
    asked = [("sleep", FOUR), ("a", FOUR), ("a", FIVE), ("b", FIVE)]
    result = workers.score([ScoreRequest(judge, completion, example) for completion, example in asked])
    assert result.rewards == [0, 0, 0.5, 1]
    assert result.timeouts == {"Ranked": 2}
    result = workers.score([ScoreRequest(judge, completion, FOUR) for completion in ("raise", "a")])
    assert (result.rewards, result.faults) == ([0, 0], {"Ranked": 2})
    result = workers.score([ScoreRequest(judge, completion, FOUR) for completion in ("short", "a")])
    assert result.first_faults[0].error == "ValueError: 1 rewards for 2 completions"


def test_a_group_gets_its_token_ids_where_all_are_known(workers: RewardWorkers) -> None:
    judge = hostile.Ranked()
    known = [ScoreRequest(judge, "ids", FOUR, (1, 2)), ScoreRequest(judge, "", FOUR, (3,))]
    assert workers.score(known).rewards == [0.2, 0.1]
    assert workers.score([known[0], ScoreRequest(judge, "", FOUR)]).rewards == [None, None]


def test_a_reward_that_its_verifier_knows_to_be_out_of_range_ends_the_run(workers: RewardWorkers) -> None:
    with pytest.raises(ValueError, match=r"'hostile_out_of_range', example 'sums/1': set scale = \(0, 10\)"):
        workers.score([ScoreRequest(hostile.OutOfRange(), "a", FOUR)])


def test_what_is_equal_is_sent_once() -> None:
    judge = hostile.Commanded()
    planned = plan([ScoreRequest(judge, "give 1", FOUR), ScoreRequest(judge, "give 1", FOUR)])
    assert len(planned.tasks) == 1
    assert planned.keys[0] == planned.keys[1]
    _, completions, example, _ = pickle.loads(planned.tasks[0].packed)
    assert (completions, example) == (["give 1"], FOUR)


@functools.wraps(hostile.loops)
def wrapped(completion: str, example: Example) -> float:
    return 1.0
