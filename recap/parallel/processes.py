"""What processes tell one another."""

from __future__ import annotations

from datetime import timedelta

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import get_int_from_env, parse_flag_from_env
from torch import Tensor


def is_main_process() -> bool:
    """Whether this is the first process, by what its launcher has told it: before any process group is there."""
    return int(get_int_from_env(["RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK"], 0)) == 0


def join_processes(timeout_s: float) -> None:
    """Makes the processes of a launch one group, unless they are: the first to ask decides for the whole run.

    Args:
        timeout_s: how long a process waits for the others in a collective before the run ends.
    """
    PartialState(parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=timedelta(seconds=timeout_s))


def total(accelerator: Accelerator, sums: Tensor) -> Tensor:
    """A sum over all processes."""
    result: Tensor = accelerator.reduce(sums)
    return result


def everywhere(accelerator: Accelerator, condition: bool) -> bool:
    """Whether something holds on all processes."""
    return not float(total(accelerator, torch.tensor(float(not condition), device=accelerator.device)))
