"""Completions judged in a process that may hang or die, for tests."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from typing import NamedTuple

from registry.example import Example
from registry.verifiers.base import UNDECIDED, Judge, settle


class Trial(NamedTuple):
    """What came of judging one completion.

    Attributes:
        here: it came to nothing in what the engine calls in the training process.
        exit_code: the process ended, with this code.
    """

    reward: float | None = None
    error: str | None = None
    timed_out: bool = False
    here: bool = False
    exit_code: int | None = None


def trials(judge: Judge, example: Example, corpus: Mapping[str, str], limit_s: float) -> Iterator[tuple[str, Trial]]:
    """The corpus in its order; a process that hangs is killed, and the rest goes to another.

    Where the system cannot fork, everything is judged here, and what hangs hangs.
    """
    if "fork" not in multiprocessing.get_all_start_methods() or sys.platform == "darwin":
        yield from ((what, _judged(judge, completion, example)) for what, completion in corpus.items())
        return
    left = dict(corpus)
    while left:
        yield from _forked(judge, example, left, limit_s)


def _forked(judge: Judge, example: Example, left: dict[str, str], limit_s: float) -> Iterator[tuple[str, Trial]]:
    """Judges in one process until that is lost; takes what is known out of `left`."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_judge_all, args=(judge, example, dict(left), sender), daemon=True)
    process.start()
    sender.close()
    here = True
    try:
        while left:
            what = next(iter(left))
            try:
                told = receiver.recv() if receiver.poll(limit_s) else Trial(timed_out=True, here=here)
            except EOFError:
                process.join()
                told = Trial(exit_code=process.exitcode, here=here)
            if told is None:  # it was left open here; what follows may be stopped
                here = False
                continue
            here = True
            del left[what]
            yield what, told
            if told.timed_out or told.exit_code is not None:
                return
    finally:
        process.kill()
        process.join()
        receiver.close()


def _judge_all(judge: Judge, example: Example, corpus: Mapping[str, str], sender: Connection) -> None:
    for completion in corpus.values():
        try:
            reward = settle(judge, completion, example)
            if reward is UNDECIDED:
                sender.send(None)
                reward = judge(completion, example)
            sender.send(Trial(reward))
        except (Exception, SystemExit) as error:
            sender.send(Trial(error=f"{type(error).__name__}: {str(error)[:200]}"))


def _judged(judge: Judge, completion: str, example: Example) -> Trial:
    try:
        return Trial(judge(completion, example))
    except (Exception, SystemExit) as error:
        return Trial(error=f"{type(error).__name__}: {str(error)[:200]}")
