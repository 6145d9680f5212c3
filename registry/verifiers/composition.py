"""What verifiers made of other verifiers share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from registry.example import Example
from registry.sendable import sendable
from registry.verifiers.base import UNDECIDED, Judge, RewardOutOfRange, Undecided, Verifier, is_quick, settle

Part = Judge
"""A verifier, or a function with its signature."""


class Composed(Verifier):
    """A verifier made of parts: quick where all of them are, in one worker for all of them otherwise."""

    def __init__(self, name: str, parts: Sequence[Part]) -> None:
        self.name = name
        if not parts:
            raise ValueError(f"{name} needs at least one verifier")
        for part in parts:
            if not callable(part) or isinstance(part, type):
                raise ValueError(f"{name}: {part!r} is no verifier; write @verifiers.name()")
        self.parts = tuple(map(sendable, parts))
        self.quick = all(map(is_quick, self.parts))

    def prepare(self) -> None:
        for part in self.parts:
            if isinstance(part, Verifier):
                part.prepare()

    def check(self) -> None:
        for part in self.parts:
            if isinstance(part, Verifier):
                part.check()

    def here(self, part: Part, completion: str, example: Example) -> float | Undecided | None:
        """The reward of a part, where it takes no worker."""
        reward = settle(part, completion, example)
        return reward if reward is UNDECIDED else self._checked(reward, example)

    def full(self, part: Part, completion: str, example: Example) -> float | None:
        return self._checked(part(completion, example), example)

    def _checked(self, reward: float | None, example: Example) -> float | None:
        """The reward of a part. Raises: RewardOutOfRange: it would make that of the whole meaningless."""
        if reward is None:
            return None
        reward = float(reward)
        if math.isfinite(reward) and not 0 <= reward <= 1:
            raise RewardOutOfRange(
                f"a part of {self.name} gave {reward}: every part must give a reward in [0, 1], or None"
            )
        return reward
