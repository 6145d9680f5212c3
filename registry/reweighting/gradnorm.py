"""GradNorm: the gradients of all objectives shall have the same size, larger for those that train slowly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from registry import reweighting_policies
from registry.reweighting.base import ReweightingPolicy, SignalKind
from registry.reweighting.numerics import Adam, finite_losses, is_number, mean_one, ratio, require, require_state

SMALLEST_WEIGHT = 1e-3
LARGEST_NORM = 1e100  # beyond it sums overflow


@reweighting_policies.register("gradnorm")
class GradNorm(ReweightingPolicy):
    """Weights objectives so that their gradients have comparable norms; costs a backward pass per objective.

        G_k = λ_k ‖∇L_k‖,   Ḡ = mean of G,   r_k = (L_k / L_k(0)) / mean_j (L_j / L_j(0))
        min over λ of Σ_k |G_k - Ḡ r_k^a|, the target held constant; then λ is scaled to mean 1

    The gradient is sign(G_k - Ḡ r_k^a) ‖∇L_k‖; λ follows it by Adam.

    Source: GradNorm (arXiv 1711.02257, Section 3.1, equations 1 and 2, Algorithm 1).
    Differs: norms are over all parameters, the paper's over the last shared layer.

    Losses of 0 or below: L / L(0) = 1 + (L - L(0)) / |L(0)|, and it is cut to [0, 10]. λ stays at or above 1e-3 before it
    is scaled. A reward r counts as the loss 1 - r. Objectives without a loss and a norm in a step keep their λ, but
    for the scaling; NaN and inf are absent.

    Args:
        objectives: names, or a mapping name -> signal kind.
        restoring_force: the exponent a in [0, 10] (the paper's α); the higher, the more slow objectives count.
        learning_rate: of Adam on λ, > 0.

    Raises:
        ValueError: a parameter out of its range.
    """

    needs_gradient_norms: ClassVar[bool] = True

    def __init__(
        self,
        objectives: Iterable[str] | Mapping[str, SignalKind],
        restoring_force: float = 1.5,
        learning_rate: float = 0.025,
    ) -> None:
        super().__init__(objectives)
        force, rate = restoring_force, learning_rate
        require(is_number(force) and 0 <= force <= 10, "gradnorm", "restoring_force", "be in [0, 10]", force)
        require(is_number(rate) and rate > 0, "gradnorm", "learning_rate", "be > 0", rate)
        self.restoring_force = force
        self._adam = Adam(self.objectives, rate)
        self._weights = dict.fromkeys(self.objectives, 1.0)
        self._first: dict[str, float] = {}
        self._norms: dict[str, float] = {}

    def observe_gradient_norms(self, norms: Mapping[str, float]) -> None:
        self.check_known(norms)
        self._norms = {name: min(norm, LARGEST_NORM) for name, norm in norms.items() if math.isfinite(norm)}

    def update(self, signals: Mapping[str, float]) -> None:
        self.check_known(signals)
        losses = finite_losses(signals, self.signal_kinds)
        for name, loss in losses.items():
            self._first.setdefault(name, loss)
        present = [name for name in self.objectives if name in losses and name in self._norms]
        norms, self._norms = self._norms, {}
        if not present:
            return
        remaining = {name: ratio(losses[name], self._first[name]) for name in present}
        mean_remaining = math.fsum(remaining.values()) / len(present)
        sizes = {name: self._weights[name] * norms[name] for name in present}
        mean_size = math.fsum(sizes.values()) / len(present)
        for name in present:
            rate = remaining[name] / mean_remaining if mean_remaining else 1.0
            difference = sizes[name] - mean_size * rate**self.restoring_force
            gradient = math.copysign(norms[name], difference) if difference else 0.0
            self._weights[name] = max(self._adam.step(self._weights[name], gradient, name), SMALLEST_WEIGHT)
        self._weights = mean_one(self._weights, self.objectives)

    @property
    def weights(self) -> dict[str, float]:
        return dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        return {
            "signal_kinds": dict(self.signal_kinds),
            "weights": dict(self._weights),
            "first": dict(self._first),
            "norms": dict(self._norms),
            "adam": self._adam.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        require_state("gradnorm", state, ("signal_kinds", "weights", "first", "norms", "adam"), self.signal_kinds)
        self._weights = {name: state["weights"][name] for name in self.objectives}
        self._first = dict(state["first"])
        self._norms = dict(state["norms"])
        self._adam.load_state_dict(state["adam"])
