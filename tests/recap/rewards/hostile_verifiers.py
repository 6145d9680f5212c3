"""Verifiers that misbehave; a file like one given to `--plugin`, since worker processes cannot import a test module."""

import mmap
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from registry import verifiers
from registry.example import Example
from registry.verifiers.base import GroupVerifier, RewardOutOfRange, Verifier


class Commanded(Verifier):
    """Does what the completion says."""

    def __call__(self, completion: str, example: Example) -> float | None:
        command, _, argument = completion.partition(" ")
        match command:
            case "give":
                return float(argument)
            case "pass":
                return None
            case "sleep":
                time.sleep(1000)
            case "compute":
                return float(9 ** (9**9))
            case "exit":
                os._exit(int(argument))
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "touch":
                Path(argument).touch()
                return 1.0
            case "raise":
                raise KeyError(argument)
            case "stop":
                sys.exit(argument)
            case "interrupt":
                raise KeyboardInterrupt
            case "allocate":
                return float(len(bytearray(int(argument) * 2**30)))
            case "map":  # addresses that nothing is written to, as libraries and CUDA's drivers take them
                with mmap.mmap(-1, int(argument) * 2**30, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as mapped:
                    return float(mapped[0] == 0)
            case "text":
                return argument  # type: ignore[return-value]
            case "images":
                return float(len(example.images))
            case "modules":
                return float(argument in sys.modules)
        return 0.0


class CommandedHere(Commanded):
    """The same in the calling process."""

    quick = True


class CannotBeUnpacked(Verifier):
    """Comes to pieces on the way to a worker."""

    def __call__(self, completion: str, example: Example) -> float:
        return 1.0

    def __setstate__(self, state: object) -> None:
        raise RuntimeError("lost")

    def __getstate__(self) -> dict[str, int]:
        return {"a": 1}


class Ranked(GroupVerifier):
    """Pays by the rank in the group, so that it matters whom a completion is judged with."""

    def judge_group(
        self, completions: Sequence[str], example: Example, token_ids: Sequence[Sequence[int]] | None = None
    ) -> list[float | None]:
        if "sleep" in completions:
            time.sleep(1000)
        if "raise" in completions:
            raise KeyError("raise")
        if "short" in completions:
            return [1.0]
        if "ids" in completions:
            return [None if token_ids is None else len(ids) / 10 for ids in token_ids or [()] * len(completions)]
        return [sum(other <= one for other in completions) / len(completions) for one in completions]


@verifiers.register("hostile_loop")
def loops(completion: str, example: Example, patience: float = 0.25) -> float:
    """A user's function without a word on how quick it is."""
    while "loop" in completion:
        pass
    return patience


@verifiers.register("hostile_quick")
def quick_one(completion: str, example: Example, reward: float = 0.25) -> float:
    return reward


quick_one.quick = True  # type: ignore[attr-defined]


@verifiers.register("hostile_out_of_range")
class OutOfRange(Verifier):
    """Knows what to do about its rewards."""

    def __call__(self, completion: str, example: Example) -> float:
        raise RewardOutOfRange("set scale = (0, 10)")
