"""What a worker process of the verifiers runs: one verifier on one completion, its failures turned into data."""

from __future__ import annotations

import contextlib
import importlib
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from registry import load_plugin
from registry.example import Example
from registry.verifiers.base import UNDECIDED


class Outcome(NamedTuple):
    """A reward, or why there is none.

    Attributes:
        error: what went wrong; the reward is then 0.
        timed_out: what went wrong is the time limit.
        shortcut: settled without the full check.
    """

    reward: float | None
    error: str | None = None
    timed_out: bool = False
    shortcut: bool = False


def attempt(judge: Callable[[str, Example], Any], completion: str, example: Example) -> Outcome | None:
    """What a verifier or its shortcut says; None where that is UNDECIDED."""
    try:
        reward = judge(completion, example)
        if reward is UNDECIDED:
            return None
        return Outcome(None if reward is None else float(reward))
    except (Exception, SystemExit) as error:
        return fault(error)


def fault(error: BaseException) -> Outcome:
    return Outcome(0.0, error=f"{type(error).__name__}: {str(error)[:200]}")


def judge_packed(packed: bytes, timeout_s: float) -> Outcome:
    """The outcome of a pickled (verifier, completion, example).

    The training process kills the worker at the time limit; should that process be gone, the alarm ends the worker.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 2 * timeout_s + 1)
    try:
        verifier, completion, example = pickle.loads(packed)
        return attempt(verifier, completion, example) or fault(ValueError("UNDECIDED is no reward"))
    except BaseException as error:  # nothing reaches the training process as an exception
        return fault(error)
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


def start_worker(plugins: Sequence[str], memory_gb: float | None) -> None:
    """Readies a worker process, before its time is taken."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # ends it inside C code as well
    if memory_gb is not None and sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(memory_gb * 2**30),) * 2)
    with contextlib.suppress(ImportError):
        importlib.import_module("math_verify")
    for plugin in plugins:
        load_plugin(plugin)  # a class of a plugin is found by the name of its module
