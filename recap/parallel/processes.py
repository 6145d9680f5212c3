"""What processes tell one another."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor


def total(accelerator: Accelerator, sums: Tensor) -> Tensor:
    """A sum over all processes."""
    result: Tensor = accelerator.reduce(sums)
    return result


def everywhere(accelerator: Accelerator, condition: bool) -> bool:
    """Whether something holds on all processes."""
    return not float(total(accelerator, torch.tensor(float(not condition), device=accelerator.device)))
