"""FAMO: all losses shall fall at the same rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from registry import reweighting_policies
from registry.reweighting.base import ReweightingPolicy, SignalKind
from registry.reweighting.numerics import Adam, finite_losses, is_number, mean_one, require, require_state, softmax

EPSILON = 1e-8


@reweighting_policies.register("famo")
class FAMO(ReweightingPolicy):
    """Weights objectives so that their losses fall at the same relative rate.

        λ_k = K · (z_k / D_k) / Σ_j (z_j / D_j),   z = softmax(ξ),   D_k = L_k - b_k + 1e-8
        ξ <- Adam(ξ, Jᵀ δ + γ ξ),   δ_k = log D_k(t - 1) - log D_k(t),   J = ∂z/∂ξ

    Source: FAMO (arXiv 2306.03792, Algorithm 1), Adam and settings as in its authors' code.
    Differs: the paper measures L(t) on the batch of the step before; a policy sees one set of losses per step, so δ is
    between the batches of two steps, and their noise goes into it. D_k is that of the step before.

    Losses below the bound b, where the logarithm ends: b_k is `lower_bound` or, if lower, the smallest loss seen, for both
    terms of δ. A reward r counts as the loss 1 - r. An objective without a loss yet has λ = 1; an absent one keeps its ξ
    and loss, and J is that of the softmax over the others; NaN and inf are absent.

    Args:
        objectives: names, or a mapping name -> signal kind.
        learning_rate: of Adam on ξ, > 0.
        gamma: γ >= 0, the decay of ξ.
        lower_bound: what no loss is expected to fall below.

    Raises:
        ValueError: a parameter out of its range.
    """

    def __init__(
        self,
        objectives: Iterable[str] | Mapping[str, SignalKind],
        learning_rate: float = 0.025,
        gamma: float = 0.01,
        lower_bound: float = 0.0,
    ) -> None:
        super().__init__(objectives)
        require(is_number(learning_rate) and learning_rate > 0, "famo", "learning_rate", "be > 0", learning_rate)
        require(is_number(gamma) and gamma >= 0, "famo", "gamma", "be >= 0", gamma)
        require(is_number(lower_bound), "famo", "lower_bound", "be a finite number", lower_bound)
        self._adam = Adam(self.objectives, learning_rate, weight_decay=gamma)
        self._logits = dict.fromkeys(self.objectives, 0.0)
        self._bounds = dict.fromkeys(self.objectives, float(lower_bound))
        self._losses: dict[str, float] = {}

    def update(self, signals: Mapping[str, float]) -> None:
        self.check_known(signals)
        losses = finite_losses(signals, self.signal_kinds)
        for name, loss in losses.items():
            self._bounds[name] = min(self._bounds[name], loss)
        fall = {
            name: math.log(self._distance(name, self._losses[name])) - math.log(self._distance(name, losses[name]))
            for name in self.objectives
            if name in losses and name in self._losses
        }
        shares = softmax({name: self._logits[name] for name in fall})  # of the objectives that can be compared
        mean = math.fsum(shares[name] * delta for name, delta in fall.items())
        for name, delta in fall.items():
            gradient = shares[name] * (delta - mean)  # row of Jᵀ δ
            self._logits[name] = self._adam.step(self._logits[name], gradient, name)
        self._losses.update(losses)

    @property
    def weights(self) -> dict[str, float]:
        shares = softmax(self._logits)
        raw = {
            name: shares[name] / self._distance(name, self._losses[name])
            for name in self.objectives
            if name in self._losses
        }
        return mean_one(raw, self.objectives)

    @property
    def diagnostics(self) -> dict[str, dict[str, float]]:
        return {"logit": dict(self._logits)}

    def state_dict(self) -> dict[str, Any]:
        return {
            "signal_kinds": dict(self.signal_kinds),
            "logits": dict(self._logits),
            "bounds": dict(self._bounds),
            "losses": dict(self._losses),
            "adam": self._adam.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        require_state("famo", state, ("signal_kinds", "logits", "bounds", "losses", "adam"), self.signal_kinds)
        self._logits = {name: state["logits"][name] for name in self.objectives}
        self._bounds = {name: state["bounds"][name] for name in self.objectives}
        self._losses = dict(state["losses"])
        self._adam.load_state_dict(state["adam"])

    def _distance(self, name: str, loss: float) -> float:
        """D of a loss, in [1e-8, 1e300]."""
        return min(loss - self._bounds[name] + EPSILON, 1e300)
