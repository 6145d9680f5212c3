"""AdamW with the paper's schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import gin
import torch
from annotated_types import Ge, Gt, Interval
from torch.optim.lr_scheduler import LambdaLR

Beta = Annotated[float, Interval(ge=0, lt=1)]


@gin.configurable("adamw", module="recap")
@dataclass(frozen=True, kw_only=True)
class AdamW:
    """AdamW with linear warm-up, then linear decay to 0.

    Source of the defaults: RECAP (arXiv 2510.21978v2): β = (0.9, 0.999), ε = 1e-8, 10 % warm-up to 1e-6.

    Args:
        learning_rate: at the top of the schedule.
        schedule: 'linear' decays to 0 at the last step; 'constant' stays after the warm-up.
        warmup_fraction: share of the steps that warm up.
        max_grad_norm: gradients of a larger norm are scaled down to it.

    Raises:
        ValueError: a rate that is not positive, or a fraction outside [0, 1).
    """

    learning_rate: float = 1e-6
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    epsilon: Annotated[float, Gt(0)] = 1e-8
    weight_decay: Annotated[float, Ge(0)] = 0.0
    schedule: Literal["linear", "constant"] = "linear"
    warmup_fraction: float = 0.1
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"adamw.learning_rate must be > 0 and finite; it is {self.learning_rate}")
        if not 0 <= self.warmup_fraction < 1:
            raise ValueError(f"adamw.warmup_fraction must lie in [0, 1); it is {self.warmup_fraction}")
        if self.schedule not in ("linear", "constant"):
            raise ValueError(f"adamw.schedule must be 'linear' or 'constant'; it is {self.schedule!r}")
        if not self.max_grad_norm > 0:
            raise ValueError(f"adamw.max_grad_norm must be > 0; it is {self.max_grad_norm}")

    def build(self, parameters: Iterable[torch.nn.Parameter], steps: int) -> tuple[torch.optim.AdamW, LambdaLR]:
        """The optimizer of the trainable parameters and its schedule over `steps` optimizer steps."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, **self._settings, fused=True)
        return optimizer, self.schedule_after(0, optimizer, steps)

    def schedule_after(self, done: int, optimizer: torch.optim.Optimizer, steps: int) -> LambdaLR:
        """The schedule of an optimizer that has taken `done` of its `steps`, which gets these settings.

        A state that was loaded brings the settings of the run that wrote it; those of the experiment are to hold.
        """
        for group in optimizer.param_groups:
            group.update(self._settings, initial_lr=self.learning_rate)
        return LambdaLR(optimizer, lambda step: self.factor(step, steps), last_epoch=done - 1)

    @property
    def _settings(self) -> dict[str, Any]:
        """As torch names them."""
        return {
            "lr": self.learning_rate,
            "betas": tuple(self.betas),
            "eps": self.epsilon,
            "weight_decay": self.weight_decay,
        }

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied by at `step` = 0, 1, ...; > 0 for every step of the run."""
        warmup = max(1, round(self.warmup_fraction * steps))
        if step < warmup:
            return (step + 1) / warmup
        if self.schedule == "constant":
            return 1.0
        return max(0.0, (steps - step) / max(1, steps - warmup))
