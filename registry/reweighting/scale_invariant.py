"""Scale-invariant: the loss of every objective in its own unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from registry import reweighting_policies
from registry.reweighting.base import ReweightingPolicy, SignalKind
from registry.reweighting.numerics import finite_losses, mean_one, require_state

SMALLEST_LOSS = 1e-8


@reweighting_policies.register("scale_invariant")
class ScaleInvariant(ReweightingPolicy):
    """Weights objectives by 1 / loss, which is to minimise the sum of their logarithms.

        λ_k = K · (1 / |L_k|) / Σ_j (1 / |L_j|)

    Source: the scale-invariant baseline of multi-task learning, min Σ log L_k, whose gradient is Σ ∇L_k / L_k (as
    compared in FAMO, arXiv 2306.03792, and in RECAP, arXiv 2510.21978v2).
    Differs: the weights are scaled to mean 1; L_k is the loss of the step before.

    Zero and negative losses, where the logarithm ends: |L_k| stands for L_k, and below 1e-8 it counts as 1e-8. A reward
    r counts as the loss 1 - r. An absent objective keeps its last loss; one never seen has λ = 1; NaN and inf are absent.

    Args:
        objectives: names, or a mapping name -> signal kind.
    """

    def __init__(self, objectives: Iterable[str] | Mapping[str, SignalKind]) -> None:
        super().__init__(objectives)
        self._losses: dict[str, float] = {}

    def update(self, signals: Mapping[str, float]) -> None:
        self.check_known(signals)
        self._losses.update(finite_losses(signals, self.signal_kinds))

    @property
    def weights(self) -> dict[str, float]:
        inverse = {
            name: 1 / max(abs(self._losses[name]), SMALLEST_LOSS) for name in self.objectives if name in self._losses
        }
        return mean_one(inverse, self.objectives)

    def state_dict(self) -> dict[str, Any]:
        return {"signal_kinds": dict(self.signal_kinds), "losses": dict(self._losses)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        require_state("scale_invariant", state, ("signal_kinds", "losses"), self.signal_kinds)
        self._losses = dict(state["losses"])
