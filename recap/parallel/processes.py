"""What processes tell one another."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.utils import get_int_from_env
from torch import Tensor


def is_main_process() -> bool:
    """Whether this is the first process, by what its launcher has told it: before any process group is there."""
    return int(get_int_from_env(["RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK"], 0)) == 0


def total(accelerator: Accelerator, sums: Tensor) -> Tensor:
    """A sum over all processes."""
    result: Tensor = accelerator.reduce(sums)
    return result


def everywhere(accelerator: Accelerator, condition: bool) -> bool:
    """Whether something holds on all processes."""
    return not float(total(accelerator, torch.tensor(float(not condition), device=accelerator.device)))
