"""UW: objectives whose loss stays large are believed to be noisy, and count less."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from registry import reweighting_policies
from registry.reweighting.base import ReweightingPolicy, SignalKind
from registry.reweighting.numerics import Adam, clamp, finite_losses, is_number, mean_one, require, require_state

LARGEST_LOG_VARIANCE = 10.0
"""s stays in ±10: a weight moves by a factor of at most e^20 against another."""


@reweighting_policies.register("uw")
class UncertaintyWeighting(ReweightingPolicy):
    """Weights objectives by the inverse of a variance that is learnt from their losses.

        min over s of Σ_k (exp(-s_k) L_k + s_k) / 2,   λ_k = K · exp(-s_k) / Σ_j exp(-s_j)

    with s_k = log σ_k², from 0, by Adam on the gradient (1 - exp(-s_k) L_k) / 2.

    Source: uncertainty weighting (arXiv 1705.07115, Section 3.2, equations 7 to 10).
    Differs: the paper learns s with the model's own optimizer; here s has one of its own, and λ is scaled to mean 1.

    At rest exp(s_k) = L_k, which no loss of 0 or below can meet: s is kept in [-10, 10], and a loss that stays negative
    drives it to -10. A reward r counts as the loss 1 - r. An absent objective keeps its s; NaN and inf are absent.

    Args:
        objectives: names, or a mapping name -> signal kind.
        learning_rate: of Adam on s, > 0.

    Raises:
        ValueError: a learning rate out of its range.
    """

    def __init__(self, objectives: Iterable[str] | Mapping[str, SignalKind], learning_rate: float = 0.01) -> None:
        super().__init__(objectives)
        require(is_number(learning_rate) and learning_rate > 0, "uw", "learning_rate", "be > 0", learning_rate)
        self._adam = Adam(self.objectives, learning_rate)
        self._log_variance = dict.fromkeys(self.objectives, 0.0)

    def update(self, signals: Mapping[str, float]) -> None:
        self.check_known(signals)
        for name, loss in finite_losses(signals, self.signal_kinds).items():
            s = self._log_variance[name]
            s = self._adam.step(s, (1 - math.exp(-s) * loss) / 2, name)
            self._log_variance[name] = clamp(s, -LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)

    @property
    def weights(self) -> dict[str, float]:
        return mean_one({name: math.exp(-s) for name, s in self._log_variance.items()}, self.objectives)

    @property
    def diagnostics(self) -> dict[str, dict[str, float]]:
        return {"log_variance": dict(self._log_variance)}

    def state_dict(self) -> dict[str, Any]:
        return {
            "signal_kinds": dict(self.signal_kinds),
            "log_variance": dict(self._log_variance),
            "adam": self._adam.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        require_state("uw", state, ("signal_kinds", "log_variance", "adam"), self.signal_kinds)
        self._log_variance = {name: state["log_variance"][name] for name in self.objectives}
        self._adam.load_state_dict(state["adam"])
