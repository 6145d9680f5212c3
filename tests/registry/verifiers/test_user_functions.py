"""Rewards that people have already: TRL's and verl's functions, as their trainers call them."""

import asyncio
import contextlib
import inspect
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recap.rewards.requests import ScoreRequest
from recap.rewards.workers import RewardWorkers
from registry.example import Example
from registry.verifiers.base import RewardOutOfRange
from registry.verifiers.trl_function import TRLFunction
from registry.verifiers.user_functions import load_function
from registry.verifiers.verl_function import VerlFunction

FILE = Path(__file__).parent / "somebodys_rewards.py"
EXAMPLE = Example(id="sums/1", question="2 + 2?", answer="4", metadata={"tags": ["a"]})


def trl(name: str, **settings: Any) -> TRLFunction:
    return TRLFunction(f"{FILE}:{name}", **settings)


def verl(name: str, **settings: Any) -> VerlFunction:
    return VerlFunction(f"{FILE}:{name}", **settings)


@pytest.fixture(scope="module")
def workers() -> Iterator[RewardWorkers]:
    with RewardWorkers(timeout_s=3) as workers:
        yield workers


def scored(workers: RewardWorkers, judge: Any, *completions: str, example: Example = EXAMPLE) -> Any:
    return workers.score([ScoreRequest(judge, completion, example) for completion in completions])


# TRL


@pytest.mark.parametrize(
    ("judge", "completions", "rewards"),
    [
        (trl("lengths"), ["12345", ""], [0.5, 0]),
        (trl("conversational", conversational=True), ["yes", "no"], [1, 0]),
        (trl("patient"), ["a", ""], [0.5, None]),
        (trl("patient_object"), ["a", ""], [0.25, 0.25]),
        (trl("without_kwargs"), ["a"], [None]),
        (trl("logging_one"), ["a", "b"], [1, 1]),
        (trl("ranks"), ["a", "aa", "aaa", "aaa"], [0.25, 0.5, 1, 1]),
        (trl("signed", scale=(-1, 2)), ["bad", "good"], [0, 1]),
    ],
)
def test_trl_functions_in_workers(
    workers: RewardWorkers, judge: TRLFunction, completions: list[str], rewards: Any
) -> None:
    result = scored(workers, judge, *completions)
    assert result.rewards == rewards
    assert not result.faults


def test_trl_columns_are_those_of_the_row_and_the_reference() -> None:
    judge = trl("by_columns", answer_as="solution")
    assert judge.judge_group(["4", "5"], EXAMPLE, [(1,), (2,)]) == [1, 0]


def test_trl_token_ids() -> None:
    judge = trl("token_counts")
    assert judge.judge_group(["a", "b"], EXAMPLE, [(1, 2), (3,)]) == [0.2, 0.1]
    with pytest.raises(ValueError, match="completion_ids, which are not known here"):
        judge("a", EXAMPLE)


@pytest.mark.parametrize("name", ["lengths", "conversational", "patient", "patient_object", "ranks", "remembers"])
def test_trl_functions_get_what_the_trainer_of_trl_gives_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rewards, and for one function every argument, against GRPOTrainer's own code."""
    grpo = pytest.importorskip("trl.trainer.grpo_trainer")
    monkeypatch.setattr(grpo, "profiling_context", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(grpo, "gather", lambda rewards: rewards)
    monkeypatch.setattr(grpo, "logger", logging.getLogger("trl"))  # its own wants an Accelerator
    talks = name in ("conversational", "remembers")
    judge = trl(name, conversational=talks)
    function = load_function(judge.function)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    state: Any = SimpleNamespace(
        accelerator=SimpleNamespace(device=torch.device("cpu")),
        reward_funcs=[function],
        reward_processing_classes=[None],
        reward_func_names=[name],
        state=None,
        environments=None,
        async_loop=loop,
        _log_completion_extra=lambda *_: None,
        _log_metric=lambda *_: None,
    )
    completions = ["yes", "no, not quite", "", "yes"]
    ids = [[1, 2], [3, 4, 5], [6], [1, 2]]
    prompt: Any = [{"role": "user", "content": EXAMPLE.question}] if talks else EXAMPLE.question
    spoken: Any = [[{"role": "assistant", "content": text}] for text in completions] if talks else completions
    rows = [{"prompt": prompt, "answer": EXAMPLE.answer, **EXAMPLE.metadata}] * len(completions)
    calculate = inspect.unwrap(grpo.GRPOTrainer._calculate_rewards)
    theirs = calculate(state, rows, [prompt] * len(completions), spoken, ids)[:, 0].tolist()
    loop.call_soon_threadsafe(loop.stop)
    seen = dict(getattr(function, "__globals__", {}).get("SEEN", {}))

    ours = judge.judge_group(completions, EXAMPLE, ids)
    assert ours == pytest.approx([None if reward != reward else reward for reward in theirs])
    if name == "remembers":
        given = function.__globals__["SEEN"]
        assert set(given) == set(seen)
        for argument, value in given.items():
            assert value == seen[argument] or callable(value), argument


def test_rewards_of_trl_itself() -> None:
    rewards = pytest.importorskip("trl.rewards")
    judge = TRLFunction("trl.rewards:think_format_reward", conversational=True)
    completions = ["<think>a</think>b", "b"]
    theirs = rewards.think_format_reward([[{"content": text}] for text in completions])
    assert judge.judge_group(completions, EXAMPLE) == theirs == [1, 0]


def test_a_function_that_sleeps_costs_one_time_limit(workers: RewardWorkers) -> None:
    result = scored(workers, trl("sleeps"), "a", "b", "c")
    assert result.rewards == [0, 0, 0]
    assert result.timeouts == {"trl_function": 3}


@pytest.mark.parametrize(
    ("name", "message"),
    [("too_few", r"returned \[1.0\] for 2 completions"), ("none_at_all", "returned None for 2 completions")],
)
def test_lists_of_another_length(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trl(name).judge_group(["a", "b"], EXAMPLE)


# verl


@pytest.mark.parametrize(
    ("judge", "metadata", "rewards"),
    [
        (verl("compute_score"), {"data_source": "sums"}, [1, 0]),
        (verl("compute_score", data_source="sums"), {}, [1, 0]),
        (verl("compute_score"), {}, [0, 0]),
        (verl("compute_dict"), {"extra_info": {"index": 7}}, [1, 0]),
        (verl("compute_dict"), {"index": 7, "reward_model": {"style": "rule", "ground_truth": "5"}}, [0, 1]),
        (verl("compute_async"), {}, [1, 1]),
        (verl("compute_signed", scale=(-1, 1)), {}, [1, 0]),
    ],
)
def test_verl_functions_in_workers(workers: RewardWorkers, judge: VerlFunction, metadata: Any, rewards: Any) -> None:
    example = Example(id="sums/1", question="2 + 2?", answer="4", metadata=metadata)
    result = scored(workers, judge, "4", "5", example=example)
    assert result.rewards == rewards
    assert not result.faults


def test_verl_a_mapping_without_a_score() -> None:
    with pytest.raises(ValueError, match="a mapping without 'score': acc"):
        verl("compute_nothing")("4", EXAMPLE)


def test_verl_a_function_that_loops_is_stopped(workers: RewardWorkers) -> None:
    assert scored(workers, verl("compute_endlessly"), "4").timeouts == {"verl_function": 1}


# Both


@pytest.mark.parametrize(
    ("judge", "binding"), [(trl("signed"), "trl_function"), (verl("compute_signed"), "verl_function")]
)
def test_a_reward_outside_its_range_is_an_error_that_names_a_scale(
    workers: RewardWorkers, judge: Any, binding: str
) -> None:
    with pytest.raises(RewardOutOfRange, match=rf"gave (-1|2), outside \[0, 1\].*verifiers.{binding}.scale = "):
        judge("bad" if binding == "trl_function" else "5", EXAMPLE)
    with pytest.raises(ValueError, match=rf"'{binding}', example 'sums/1': the function gave"):
        scored(workers, judge, "bad")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("rewards.py", r"function must be 'file.py:function' or 'package.module:function'; it is 'rewards.py'"),
        ("no/such/file.py:f", "there is no file 'no/such/file.py'"),
        (
            "no_such_package.rewards:f",
            r"there is no package 'no_such_package.rewards'; for a file write its name with .py",
        ),
        (f"{FILE}:length", "has no 'length'; did you mean 'lengths'"),
    ],
)
def test_a_function_that_is_not_there_is_found_at_once(function: str, message: str) -> None:
    for kind in (TRLFunction, VerlFunction):
        with pytest.raises(ValueError, match=message):
            kind(function)


def test_a_file_that_is_no_python(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("def f(:\n")
    with pytest.raises(ValueError, match=r"broken.py:1 is no Python"):
        TRLFunction(f"{file}:f")


def test_nothing_of_the_users_runs_before_it_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "eager.py"
    file.write_text("raise RuntimeError('run')\ndef f(completions, **kwargs): ...\n")
    judge = TRLFunction(f"{file}:f")
    with pytest.raises(RuntimeError, match="run"):
        judge("a", EXAMPLE)


def test_what_a_file_takes_to_load_is_not_under_the_time_limit(tmp_path: Path, workers: RewardWorkers) -> None:
    file = tmp_path / "heavy.py"
    file.write_text("import time\ntime.sleep(4)\ndef f(completions, **_): return [0.5] * len(completions)\n")
    scored(workers, trl("lengths"), "a")  # there are workers that do not know the file
    result = scored(workers, TRLFunction(f"{file}:f"), "a", "b")
    assert workers.timeout_s < 4
    assert (result.rewards, result.timeouts) == ([0.5, 0.5], {})


def test_a_file_may_import_its_neighbours(tmp_path: Path, workers: RewardWorkers) -> None:
    (tmp_path / "neighbour_of_rewards.py").write_text("REWARD = 0.75\n")
    file = tmp_path / "mine.py"
    file.write_text("import neighbour_of_rewards\ndef f(completions, **_): return [neighbour_of_rewards.REWARD]\n")
    assert scored(workers, TRLFunction(f"{file}:f"), "a").rewards == [0.75]


@pytest.mark.parametrize("scale", [(1, 0), (0, 0), (0, float("inf")), (float("nan"), 1)])
def test_scales_that_are_none(scale: Any) -> None:
    with pytest.raises(ValueError, match=r"verl_function.scale must be \(lowest, highest\)"):
        verl("compute_score", scale=scale)


def test_what_is_no_function() -> None:
    with pytest.raises(ValueError, match="is no function: 3"):
        trl("not_a_function")("a", EXAMPLE)
