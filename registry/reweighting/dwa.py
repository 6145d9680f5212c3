"""DWA: objectives whose loss falls slowly count more."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from registry import reweighting_policies
from registry.reweighting.base import ReweightingPolicy, SignalKind
from registry.reweighting.numerics import finite_losses, is_number, mean_one, ratio, require, require_state, softmax


@reweighting_policies.register("dwa")
class DynamicWeightAverage(ReweightingPolicy):
    """Weights objectives by how fast their loss has just changed.

        λ = K · softmax(w / T),   w_k = L_k(t - 1) / L_k(t - 2)

    Source: dynamic weight average (arXiv 1803.10704, Section 3.2, equation 7); λ = 1 until two losses are known.
    Differs: the paper's losses are averages over an epoch, these are of single steps.

    Where the paper is silent: a loss of 0 or below: w = 1 + (a - b) / |b| for w = a / b, so that w > 1 still means
    rising; w is cut to [0, 10]. A reward r counts as the loss 1 - r. An objective with fewer than two losses has λ = 1,
    the others share their part; an absent one keeps its losses; NaN and inf are absent.

    Args:
        objectives: names, or a mapping name -> signal kind.
        temperature: T > 0; the paper's is 2.

    Raises:
        ValueError: a temperature out of its range.
    """

    def __init__(self, objectives: Iterable[str] | Mapping[str, SignalKind], temperature: float = 2.0) -> None:
        super().__init__(objectives)
        require(is_number(temperature) and temperature > 0, "dwa", "temperature", "be a finite number > 0", temperature)
        self.temperature = temperature
        self._losses: dict[str, deque[float]] = {name: deque(maxlen=2) for name in self.objectives}

    @property
    def warm_up(self) -> int:
        return 2

    def update(self, signals: Mapping[str, float]) -> None:
        self.check_known(signals)
        for name, loss in finite_losses(signals, self.signal_kinds).items():
            self._losses[name].append(loss)

    @property
    def weights(self) -> dict[str, float]:
        return mean_one(softmax(self._changes(), self.temperature), self.objectives)

    @property
    def diagnostics(self) -> dict[str, dict[str, float]]:
        """w of each objective with two losses."""
        return {"change": self._changes()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "signal_kinds": dict(self.signal_kinds),
            "losses": {name: list(losses) for name, losses in self._losses.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        require_state("dwa", state, ("signal_kinds", "losses"), self.signal_kinds)
        self._losses = {name: deque(state["losses"][name], maxlen=2) for name in self.objectives}

    def _changes(self) -> dict[str, float]:
        return {name: ratio(losses[1], losses[0]) for name, losses in self._losses.items() if len(losses) == 2}
