"""The contract of a reweighting policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

SignalKind = Literal["reward", "shortfall", "loss"]
"""What an objective reports once per step: its mean reward (higher is better), 1 - mean reward, or the value of its loss."""

SIGNAL_KINDS: tuple[SignalKind, ...] = ("reward", "shortfall", "loss")


class ReweightingPolicy(ABC):
    """Turns the signals of the objectives into their weights λ; sees plain floats only.

    Args:
        objectives: names, or a mapping name -> signal kind. Names alone mean losses.

    Attributes:
        mean_one: whether the weights are promised to have mean 1 over the objectives.
        kl_coefficient: β of the KL term that the policy asks the trainer for; None leaves the trainer's own.
    """

    mean_one: ClassVar[bool] = True
    kl_coefficient: float | None = None

    def __init__(self, objectives: Iterable[str] | Mapping[str, SignalKind]) -> None:
        if isinstance(objectives, Mapping):
            self.signal_kinds: dict[str, SignalKind] = dict(objectives)
        else:
            self.signal_kinds = dict.fromkeys(objectives, "loss")
        if not self.signal_kinds:
            raise ValueError("a reweighting policy needs at least one objective")
        for name, kind in self.signal_kinds.items():
            if kind not in SIGNAL_KINDS:
                raise ValueError(f"objective {name!r}: signal kind {kind!r} is none of {', '.join(SIGNAL_KINDS)}")

    @property
    def objectives(self) -> tuple[str, ...]:
        return tuple(self.signal_kinds)

    @abstractmethod
    def update(self, signals: Mapping[str, float]) -> None:
        """Takes the signals of one optimizer step; an objective that was absent from it is not in the mapping.

        Raises:
            ValueError: an unknown objective.
        """

    @property
    @abstractmethod
    def weights(self) -> dict[str, float]:
        """λ of every objective: finite, >= 0, of mean 1 where `mean_one`."""

    @property
    def diagnostics(self) -> dict[str, dict[str, float]]:
        """Series for the log: quantity -> objective -> value, e.g. ``{"convergence": {"iou": 1.02}}``."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state, but was given {sorted(state)}")

    def check_known(self, signals: Mapping[str, float]) -> None:
        """Raises ValueError for a signal of an objective that the policy was not built with."""
        unknown = sorted(set(signals) - set(self.signal_kinds))
        if unknown:
            raise ValueError(f"unknown objective {', '.join(map(repr, unknown))}; known: {', '.join(self.objectives)}")
