"""The contract of a reward verifier."""

from __future__ import annotations

import enum
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from registry.example import Example

Judge = Callable[[str, Example], float | None]
"""What the engine calls: a `Verifier`, or a function with its signature."""


class Undecided(enum.Enum):
    """Answer of `Verifier.shortcut` where only the full check can tell."""

    UNDECIDED = enum.auto()


UNDECIDED = Undecided.UNDECIDED


class RewardOutOfRange(ValueError):
    """A reward that no run may go on with: it says how to bring it into [0, 1]. Raised by a verifier, it is no fault."""


class Verifier(ABC):
    """Judges one completion against its example; pure and picklable, it never sees the model.

    Completions are what a model babbles: no `eval`, no unbounded parse. The engine calls a verifier in a worker process and
    kills it at the time limit, unless it says that it is `quick`. A fault or a time-out scores 0 and is counted; it never
    stops the run.

    Attributes:
        quick: whatever the completion, the answer is there within milliseconds: linear in its length, or on a bounded part
            of it. Such a verifier is called in the training process, where one that hangs would hold the run for ever.
        needs: modules of optional packages, each with the extra that installs it.
    """

    quick: bool = False
    needs: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def __call__(self, completion: str, example: Example) -> float | None:
        """The reward, in [0, 1]; None where the verifier does not apply to this example.

        Args:
            completion: the decoded completion, without special tokens.
            example: comes without its images, unless the verifier is quick.
        """

    def prepare(self) -> None:
        """Loads what judging takes a while to load, in the process that is going to judge, before its time is taken."""

    def check(self) -> None:
        """Raises ValueError for what can be found wrong without judging: a package that is missing."""
        for module, extra in self.needs.items():
            if importlib.util.find_spec(module) is None:
                raise ValueError(f'the package {module} is missing: pip install "recap-rlvr[{extra}]"')

    def shortcut(self, completion: str, example: Example) -> float | Undecided | None:
        """Decides the cheap and safe cases in the calling process; must agree with `__call__` where it decides."""
        return UNDECIDED


class GroupVerifier(Verifier):
    """Judges the completions of one prompt together: what somebody's batch-wise reward function needs.

    The engine gives it all completions of a prompt in one call, under one time limit; evaluation, which asks once, gives it
    one. It is never called in the training process.
    """

    @abstractmethod
    def judge_group(
        self, completions: Sequence[str], example: Example, token_ids: Sequence[Sequence[int]] | None = None
    ) -> Sequence[float | None]:
        """The rewards, in the order of the completions.

        Args:
            token_ids: of the completions, up to and including the end token; None where nobody knows them.
        """

    def __call__(self, completion: str, example: Example) -> float | None:
        return self.judge_group([completion], example)[0]


def is_quick(judge: Judge) -> bool:
    """Whether a verifier, or a function with the attribute `quick`, may be called in the training process."""
    return bool(getattr(judge, "quick", False)) and not isinstance(judge, GroupVerifier)


def settle(judge: Judge, completion: str, example: Example) -> float | Undecided | None:
    """The reward where it takes no worker process, else UNDECIDED."""
    if isinstance(judge, Verifier):
        settled = judge.shortcut(completion, example)
        if settled is not UNDECIDED:
            return settled
    return judge(completion, example) if is_quick(judge) else UNDECIDED
