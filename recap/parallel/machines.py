"""Work that one process of each machine does before the others, however long it takes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist
from accelerate import Accelerator

PATIENCE = timedelta(days=30)  # far beyond any download

Result = TypeVar("Result")


def on_each_machine_first(accelerator: Accelerator, work: Callable[[], Result]) -> Result:
    """What the work gives, done by one process of each machine and then, by what that has left there, by the others.

    To be called on all processes together; none goes on before all have done it. They wait in a group of their own, since a
    collective of the usual one may end the run after minutes (`train.collective_timeout_s`).

    Raises:
        Exception: what the work raised here.
        ValueError: it failed on other processes.
    """
    if accelerator.num_processes == 1:
        return work()
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    results: list[Result] = []
    try:
        for first in (True, False):
            failure: Exception | None = None
            if bool(accelerator.is_local_main_process) == first:
                try:
                    results.append(work())
                except Exception as error:
                    failure = error
            _raise_everywhere(accelerator, failure, group)
    finally:
        dist.destroy_process_group(group)
    return results[0]


def _raise_everywhere(accelerator: Accelerator, failure: Exception | None, group: dist.ProcessGroup) -> None:
    """Waits for all processes; where the work failed on one, none goes on to wait for it for ever."""
    found: list[str] = [""] * accelerator.num_processes
    dist.all_gather_object(found, "" if failure is None else f"{failure}" or type(failure).__name__, group=group)
    if failure is not None:
        raise failure
    for rank, text in enumerate(found):
        if text:
            raise ValueError(f"process {rank}: {text}")
