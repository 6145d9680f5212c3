"""The contract of a reward verifier."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from registry.example import Example

Judge = Callable[[str, Example], float | None]
"""What the engine calls: a `Verifier`, or a function with its signature."""


class Undecided(enum.Enum):
    """Answer of `Verifier.shortcut` where only the full check can tell."""

    UNDECIDED = enum.auto()


UNDECIDED = Undecided.UNDECIDED


class Verifier(ABC):
    """Judges one completion against its example; pure and picklable, it never sees the model.

    Completions are what a model babbles: no `eval`, no unbounded parse. Where a parser cannot be bounded from inside, set
    `isolated`: the engine then calls the verifier in a worker process and kills it at the time limit. A fault or a time-out
    scores 0 and is counted; it never stops the run.
    """

    isolated: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, completion: str, example: Example) -> float | None:
        """The reward, in [0, 1]; None where the verifier does not apply to this example.

        Args:
            completion: the decoded completion, without special tokens.
            example: may come without its images (isolated verifiers run in another process).
        """

    def shortcut(self, completion: str, example: Example) -> float | Undecided | None:
        """Decides the cheap and safe cases in the calling process; must agree with `__call__` where it decides."""
        return UNDECIDED
