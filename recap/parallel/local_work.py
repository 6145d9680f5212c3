"""Work that every process does by itself, without the others: an error, or a signal, on one of them ends it on all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator

from recap.parallel.processes import total


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop, and every process knows it."""


class FailedTogether(RuntimeError):
    """A process failed, and every process knows it; its own error is the cause on the one that failed."""


class StopRequest:
    """Whether this process was asked to stop, for whoever handles its signals.

    Attributes:
        requested: set by the handler; read between steps, where nothing is left half done.
        at_once: whether the main thread is at work that may be left at any instruction.
    """

    def __init__(self) -> None:
        self.requested = self.at_once = False

    def __call__(self) -> None:
        """What a handler does: leaves local work at once, all other work when it is done; a second time does not wait."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if self.at_once:
            raise Interrupted


stop = StopRequest()


@contextmanager
def local_work(accelerator: Accelerator, *, at_once: bool = True) -> Iterator[None]:
    """A stretch without collectives, which minutes may be spent in: a rollout, an evaluation, a wait for verifiers.

    Every process must come to it. At its end they tell one another how it went, so that they leave the run at the same
    place, able to write a checkpoint together, instead of waiting for one that is gone.

    Args:
        at_once: whether a signal may end it at any instruction; not where it is short and other threads share what it writes.

    Raises:
        Interrupted: a process was asked to stop.
        FailedTogether: a process, of several, raised; where there is one process, its error is raised as it is.
    """
    error: BaseException | None = None
    try:
        stop.at_once = at_once
        if stop.requested:
            raise Interrupted
        yield
        stop.at_once = False
    except (Exception, Interrupted) as found:
        error = found
    finally:
        stop.at_once = False
    if accelerator.num_processes == 1:
        if error is not None:
            raise error
        return
    interrupted = isinstance(error, Interrupted)
    own = torch.tensor([float(interrupted), float(error is not None and not interrupted)], device=accelerator.device)
    interruptions, failures = total(accelerator, own).tolist()
    if failures:
        where = f"on process {accelerator.process_index}" if error is not None else "on another process"
        raise FailedTogether(f"the step failed {where}") from (None if interrupted else error)
    if interruptions:
        raise Interrupted
