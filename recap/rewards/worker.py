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
from registry.verifiers.base import UNDECIDED, GroupVerifier, RewardOutOfRange, Verifier


class Outcome(NamedTuple):
    """A reward, or why there is none.

    Attributes:
        error: what went wrong; the reward is then 0.
        timed_out: what went wrong is the time limit.
        shortcut: settled without the full check.
        fatal: the reward lies outside its range, which is no fault to be counted but a mistake to be mended.
    """

    reward: float | None
    error: str | None = None
    timed_out: bool = False
    shortcut: bool = False
    fatal: bool = False


def attempt(judge: Callable[[str, Example], Any], completion: str, example: Example) -> Outcome | None:
    """What a verifier or its shortcut says; None where that is UNDECIDED."""
    try:
        reward = judge(completion, example)
        if reward is UNDECIDED:
            return None
        return Outcome(None if reward is None else float(reward))
    except (Exception, SystemExit) as error:
        return fault(error)


def attempt_group(
    judge: GroupVerifier, completions: Sequence[str], example: Example, token_ids: Sequence[Sequence[int]] | None
) -> list[Outcome]:
    """What a verifier says of the completions of a prompt; one that fails has failed on all of them."""
    try:
        rewards = list(judge.judge_group(completions, example, token_ids))
        if len(rewards) != len(completions):
            raise ValueError(f"{len(rewards)} rewards for {len(completions)} completions")
        return [Outcome(None if reward is None else float(reward)) for reward in rewards]
    except (Exception, SystemExit) as error:
        return [fault(error)] * len(completions)


def fault(error: BaseException) -> Outcome:
    if isinstance(error, RewardOutOfRange):
        return Outcome(0.0, error=str(error), fatal=True)
    return Outcome(0.0, error=f"{type(error).__name__}: {str(error)[:200]}")


def judge_packed(packed: bytes, timeout_s: float) -> list[Outcome] | Outcome:
    """The outcomes of a pickled (verifier, completions, example, token ids); a lone one is that of all of them.

    The training process kills the worker at the time limit; should that process be gone, the alarm ends the worker.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 2 * timeout_s + 1)
    try:
        verifier, completions, example, token_ids = pickle.loads(packed)
        if isinstance(verifier, GroupVerifier):
            return attempt_group(verifier, completions, example, token_ids)
        undecided = fault(ValueError("UNDECIDED is no reward"))
        return [attempt(verifier, completion, example) or undecided for completion in completions]
    except BaseException as error:  # nothing reaches the training process as an exception
        return fault(error)
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


def start_worker(plugins: Sequence[str], memory_gb: float | None, judges: Sequence[bytes] = ()) -> None:
    """Readies a worker process, before its time is taken.

    Args:
        judges: pickled verifiers whose code takes a while to load; one that cannot be loaded fails when it is asked.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # ends it inside C code as well
    if memory_gb is not None and sys.platform == "linux":
        import resource

        # What is allocated, not addresses: torch for CUDA maps several GB of files and reserves many more without using them.
        resource.setrlimit(resource.RLIMIT_DATA, (int(memory_gb * 2**30),) * 2)
    with contextlib.suppress(ImportError):
        importlib.import_module("math_verify")
    for plugin in plugins:
        load_plugin(plugin)  # a class of a plugin is found by the name of its module
    for judge in judges:
        with contextlib.suppress(Exception, SystemExit):
            loaded = pickle.loads(judge)
            if isinstance(loaded, Verifier):
                loaded.prepare()
