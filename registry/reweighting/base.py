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
        same_step: whether the weights after `update` are meant for the very step that was measured: the trainer then
            updates before the backward pass, else after it.
        needs_gradient_norms: whether the trainer has to call `observe_gradient_norms` before each `update`, which costs
            it a backward pass per objective.
        kl_coefficient: β of the KL term that the policy asks the trainer for; None leaves the trainer's own.
    """

    mean_one: ClassVar[bool] = True
    same_step: ClassVar[bool] = False
    needs_gradient_norms: ClassVar[bool] = False
    kl_coefficient: float | None = None

    def __init__(self, objectives: Iterable[str] | Mapping[str, SignalKind]) -> None:
        if isinstance(objectives, str):
            raise ValueError(f"a reweighting policy takes the names of its objectives in a list: [{objectives!r}]")
        names = list(objectives)
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"a reweighting policy was given {', '.join(sorted(twice))} more than once")
        self.signal_kinds: dict[str, SignalKind] = (
            dict(objectives) if isinstance(objectives, Mapping) else dict.fromkeys(names, "loss")
        )
        if not self.signal_kinds:
            raise ValueError("a reweighting policy needs at least one objective")
        for name, kind in self.signal_kinds.items():
            if kind not in SIGNAL_KINDS:
                raise ValueError(f"objective {name!r}: signal kind {kind!r} is none of {', '.join(SIGNAL_KINDS)}")

    @property
    def objectives(self) -> tuple[str, ...]:
        """Their names, in the order in which they were given."""
        return tuple(self.signal_kinds)

    @property
    def warm_up(self) -> int:
        """Updates that must have come before the weights can leave where they started, were every objective in each; 0: not
        told. A run that ends before is told so."""
        return 0

    @abstractmethod
    def update(self, signals: Mapping[str, float]) -> None:
        """Takes the signals of one optimizer step; an objective that was absent from it is not in the mapping.

        Raises:
            ValueError: an unknown objective.
        """

    def take_seed(self, seed: int) -> None:
        """Takes the seed of the run, before the first update; for policies that draw and were given no seed of their own."""

    def observe_gradient_norms(self, norms: Mapping[str, float]) -> None:
        """Takes, before `update`, what the gradients of this step measure; only where `needs_gradient_norms`.

        Args:
            norms: objective -> Euclidean norm, over all parameters, of the gradient of its unweighted L_k; one for each
                objective that is present in the step.

        Raises:
            TypeError: the policy does not ask for them.
        """
        raise TypeError(f"{type(self).__name__} does not use gradient norms: ask `needs_gradient_norms` first")

    @property
    @abstractmethod
    def weights(self) -> dict[str, float]:
        """λ of every objective: finite, >= 0, of mean 1 where `mean_one`."""

    @property
    def diagnostics(self) -> dict[str, dict[str, float]]:
        """Series for the log: quantity -> objective -> value, e.g. ``{"convergence": {"iou": 1.02}}``."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """All that `update` has changed, as copies: with it a resumed run goes on as if it had never stopped."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave. Raises: ValueError: a state that is not of this policy."""
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state, but was given {sorted(state)}")

    def check_known(self, signals: Iterable[str]) -> None:
        """Raises ValueError for a signal of an objective that the policy was not built with."""
        unknown = sorted(set(signals) - set(self.signal_kinds))
        if unknown:
            raise ValueError(f"unknown objective {', '.join(map(repr, unknown))}; known: {', '.join(self.objectives)}")
