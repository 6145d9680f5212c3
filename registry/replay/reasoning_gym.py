"""Puzzles that the reasoning-gym package makes up: arithmetic, algebra, logic, games; text alone."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Mapping
from typing import Any

from registry import replay_sources
from registry.example import Example
from registry.replay.base import ReplaySource, shuffled_row
from registry.replay.fields import did_you_mean

MISSING = 'replay.reasoning_gym: the package reasoning-gym is missing: pip install "recap-rlvr[reasoning-gym]"'


@replay_sources.register("reasoning_gym")
class ReasoningGym(ReplaySource):
    """Takes the examples of one task of reasoning-gym, made up from a seed; text only.

    Judge them with the verifier `reasoning_gym`, which knows the score of each task. Tasks with many right answers
    (rubiks_cube, graph_color, ...) have the reference answer ``''``: good for reinforcement, not for imitation.

    Source: Reasoning Gym (arXiv 2505.24760).

    Args:
        task: name of the task, e.g. ``leg_counting``.
        length: number of distinct examples.
        config: the task's own settings, e.g. ``{'min_animals': 3}``.
        seed: seeds the examples and their order. Other seeds give other examples. None: from that of the run, and 0 for what
            is held out.

    Raises:
        ValueError: a length below 1. An unknown task or setting is found by `check`, or at the first example.
    """

    def __init__(
        self, task: str, length: int = 1000, config: Mapping[str, Any] | None = None, seed: int | None = None
    ) -> None:
        super().__init__(seed)
        if length < 1:
            raise ValueError(f"replay.reasoning_gym: length must be at least 1, not {length}")
        self.task = task
        self.config = dict(config or {})
        self._length = length

    @property
    def length(self) -> int:
        return self._length

    def example(self, position: int) -> Example:
        index = shuffled_row(position, self._length, self.seed)
        entry = self._entries[index]
        return Example(
            id=f"{self.task}/{self.seed}/{index}",
            question=entry["question"].strip(),
            answer=entry["answer"] or "",
            metadata={"reasoning_gym": {"task": self.task, "config": self.config, "entry": entry}},
        )

    def check(self) -> None:
        len(self._entries)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_entries"}  # some hold lambdas

    @functools.cached_property
    def _entries(self) -> Any:
        # The package seeds entry i with seed + i: neighbouring seeds would share all entries but one.
        seed = random.Random(self.seed).getrandbits(31)
        return make_task(self.task, self.config, size=self._length, seed=seed)


def make_task(task: str, config: Mapping[str, Any], **chosen: int) -> Any:
    """The data set of a task, which also scores answers.

    Args:
        config: settings that the user wrote.
        chosen: size and seed, which are not the user's to set.

    Raises:
        ValueError: the package is missing, or it knows no such task or setting, or refuses the value of one.
    """
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise ValueError(MISSING) from error
    if task not in DATASETS:
        near = did_you_mean(task, DATASETS)
        raise ValueError(f"replay.reasoning_gym: no task {task!r}{near}\n  all {len(DATASETS)}: {', '.join(DATASETS)}")
    known = [field.name for field in dataclasses.fields(DATASETS[task][1]) if field.name not in ("size", "seed")]
    for setting in config:
        if setting not in known:
            near = did_you_mean(setting, known)
            raise ValueError(
                f"replay.reasoning_gym: {task} has no setting {setting!r}{near}\n  settings: {', '.join(known)}"
            )
    try:
        return reasoning_gym.create_dataset(task, **config, **chosen)
    except (AssertionError, TypeError, ValueError) as error:  # the package checks its settings with assert
        raise ValueError(f"replay.reasoning_gym: {task} refuses its settings: {error}") from error
