"""A reward function written for TRL, as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from registry import verifiers
from registry.example import Example
from registry.verifiers.base import GroupVerifier
from registry.verifiers.user_functions import (
    Scale,
    call,
    check_path,
    check_scale,
    load_function,
    metadata_columns,
    scaled,
)

NAME = "verifiers.trl_function"


def _nothing(*given: Any, **named: Any) -> None:
    """In place of TRL's loggers."""


@verifiers.register("trl_function")
class TRLFunction(GroupVerifier):
    """Calls a reward function that was written for TRL's GRPOTrainer: ``f(prompts, completions, completion_ids, **columns)``.

    As TRL (1.16) calls it: by keyword, batch-wise, awaited where it is async; a list with one number or None (does not apply)
    for each completion comes back. Columns are those of the row: `metadata`, and the reference under the name `answer_as`;
    ``trainer_state`` is None, ``log_extra`` and ``log_metric`` do nothing. Differs: a batch is the completions of one prompt,
    which is one call under one time limit (`rewards.timeout_s`); it runs in a worker process, never in the training process;
    a function without ``**kwargs`` gets what it names alone.

    >>> judge = TRLFunction("trl.rewards:think_format_reward", conversational=True)
    >>> example = Example(id="1", question="2 + 2?", answer="4")
    >>> judge.judge_group(["<think>two and two</think>4", "4"], example)
    [1.0, 0.0]

    Args:
        function: ``file.py:name``, from the folder of the run, or ``package.module:name``.
        scale: (lowest, highest) reward that it gives, mapped to 0 and 1; None: it gives [0, 1] itself.
        conversational: prompts and completions are lists of messages, ``[{'role': ..., 'content': ...}]``, not texts; TRL does
            so where the data set's prompts are.
        answer_as: the column under which the reference is passed, such as ``solution`` or ``ground_truth``.

    Raises:
        ValueError: a function that is not there, a scale that is none; at a call, a list of another length, or a function that
            asks for ``completion_ids`` where nobody knows them.
        RewardOutOfRange: a reward outside `scale`.
    """

    def __init__(
        self, function: str, scale: Scale | None = None, conversational: bool = False, answer_as: str = "answer"
    ) -> None:
        self.function = check_path(function, f"{NAME}.function")
        self.scale = check_scale(scale, f"{NAME}.scale")
        if not answer_as.isidentifier():
            raise ValueError(f"{NAME}.answer_as must be the name of a column; it is {answer_as!r}")
        self.conversational = conversational
        self.answer_as = answer_as

    def prepare(self) -> None:
        load_function(self.function)

    def judge_group(
        self, completions: Sequence[str], example: Example, token_ids: Sequence[Sequence[int]] | None = None
    ) -> list[float | None]:
        count = len(completions)
        given: dict[str, Any] = {
            "prompts": [self._turn("user", example.question)] * count,
            "completions": [self._turn("assistant", completion) for completion in completions],
            "completion_ids": _Unknown() if token_ids is None else [list(ids) for ids in token_ids],
            "trainer_state": None,
            "log_extra": _nothing,
            "log_metric": _nothing,
        }
        row = {self.answer_as: example.answer} | metadata_columns(example.metadata, {*given, "prompt", "completion"})
        rewards = call(load_function(self.function), **given, **{name: [value] * count for name, value in row.items()})
        if not hasattr(rewards, "__len__") or len(rewards) != count:
            raise ValueError(
                f"{self.function} returned {str(rewards)[:80]} for {count} completions: one reward for each"
            )
        return [scaled(reward, self.scale, f"{NAME}.scale") for reward in rewards]

    def _turn(self, role: str, text: str) -> Any:
        return [{"role": role, "content": text}] if self.conversational else text


class _Unknown(Sequence[Sequence[int]]):
    """The ids of completions where only their text is known: whoever asks is told so."""

    def __len__(self) -> int:
        raise ValueError("the function asks for completion_ids, which are not known here")

    def __getitem__(self, index: Any) -> Any:
        return len(self)
