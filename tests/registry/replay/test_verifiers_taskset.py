"""Single-turn tasksets of the `verifiers` package: their tasks as examples, their rewards as rewards."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import pytest

from registry import replay_sources, verifiers
from registry.example import Example, MalformedExample
from registry.testing import check_verifier
from registry.verifiers.base import RewardOutOfRange

SUMS = """
from collections.abc import Iterable

import verifiers.v1 as vf

__all__ = ["Sums"]


class SumData(vf.TaskData):
    answer: str


class SumTask(vf.Task[SumData]):
    @vf.reward(weight=0.75)
    async def right(self, trace: vf.Trace) -> float:
        return float(trace.last_reply == self.data.answer)

    @vf.reward(weight=0.25)
    async def short(self, task: SumData, trace: vf.Trace) -> float:
        return 1.0 if len(trace.last_reply) < 4 else 0.5


class SumsConfig(vf.TasksetConfig):
    highest: int = 5


class Sums(vf.Taskset[SumTask, SumsConfig]):
    def load(self) -> Iterable[SumTask]:
        for n in range(self.config.highest):
            yield SumTask(SumData(prompt=f"{n}+1=?", answer=str(n + 1), system_prompt="Briefly."), self.config.task)
"""
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("verifiers") is None, reason='needs pip install "recap-rlvr[verifiers-tasksets]"'
)


@pytest.fixture
def taskset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """An installed taskset: the sums, with what the parameter has replaced in their text."""
    old, new = getattr(request, "param", ("", ""))
    name = f"recap_sums_{abs(hash((old, new)))}"
    (tmp_path / f"{name}.py").write_text(SUMS.replace(old, new) if old else SUMS)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "verifiers.v1.utils", None)
    with pytest.raises(ValueError, match=r"pip install \"recap-rlvr\[verifiers-tasksets\]\""):
        replay_sources.build("verifiers_taskset", taskset="sums").check()


def test_other_examples_are_not_judged() -> None:
    assert verifiers.build("verifiers_taskset")("3", Example(id="1", question="1+2=?", answer="3")) is None


@needs_package
def test_every_task_is_an_example_and_is_scored_by_its_own_rewards(taskset: str) -> None:
    source = replay_sources.build("verifiers_taskset", taskset=taskset, config={"highest": 3}, seed=1)
    source.check()
    examples = source.take(3)
    assert {(example.question, example.answer) for example in examples} == {
        (f"Briefly.\n\n{n}+1=?", str(n + 1)) for n in range(3)
    }
    example = pickle.loads(pickle.dumps(next(example for example in examples if example.answer == "3")))
    total, right, short = (verifiers.build("verifiers_taskset", reward=name) for name in (None, "right", "short"))
    assert [judge(" 3\n", example) for judge in (total, right, short)] == [1.0, 1.0, 1.0]
    assert [judge("four", example) for judge in (total, right, short)] == [0.125, 0.0, 0.5]
    check_verifier(right, example, right=lambda example: "3", wrong=("four",), limit_s=3.0)
    with pytest.raises(ValueError, match="has the rewards right, short"):
        verifiers.build("verifiers_taskset", reward="wrong")("3", example)


@needs_package
@pytest.mark.parametrize("taskset", [("weight=0.75", "weight=3.0")], indirect=True)
def test_a_sum_outside_0_to_1_says_which_scale_it_needs(taskset: str) -> None:
    example = replay_sources.build("verifiers_taskset", taskset=taskset).example(0)
    with pytest.raises(RewardOutOfRange, match=r"verifiers_taskset\.scale = \(0, 3\.25\)"):
        verifiers.build("verifiers_taskset")(example.answer, example)
    judge = verifiers.build("verifiers_taskset", scale=(0, 3.25))
    assert [judge(said, example) for said in (example.answer, "long words")] == [1.0, 0.125 / 3.25]


TASK, TASKSET = "(vf.Task[SumData]):\n", "(vf.Taskset[SumTask, SumsConfig]):\n"
RIGHT, SHORT = "right(self, trace: vf.Trace)", "    @vf.reward(weight=0.25)"


@needs_package
@pytest.mark.parametrize(
    ("taskset", "said"),
    [
        ((TASK, f"{TASK}    NEEDS_CONTAINER = True\n"), "a container"),
        ((RIGHT, "right(self, trace, runtime)"), "a runtime for right"),
        ((SHORT, f"    async def setup(self, trace, runtime): ...\n\n{SHORT}"), "a set-up of its own"),
        ((TASKSET, f"{TASKSET}    INFINITE = True\n"), "name a length"),
    ],
    indirect=["taskset"],
)
def test_tasks_that_are_more_than_a_question_are_refused(taskset: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replay_sources.build("verifiers_taskset", taskset=taskset).example(0)


@needs_package
@pytest.mark.parametrize(
    "taskset",
    [('prompt=f"{n}+1=?"', 'prompt=[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]')],
    indirect=True,
)
def test_a_conversation_is_malformed(taskset: str) -> None:
    with pytest.raises(MalformedExample, match="its prompt is a conversation"):
        replay_sources.build("verifiers_taskset", taskset=taskset).example(0)


@needs_package
def test_what_is_not_there_is_named(taskset: str) -> None:
    with pytest.raises(ValueError, match="no taskset 'recap_no_taskset'"):
        replay_sources.build("verifiers_taskset", taskset="recap_no_taskset").check()
    with pytest.raises(ValueError, match="hihgest"):
        replay_sources.build("verifiers_taskset", taskset=taskset, config={"hihgest": 3}).check()
