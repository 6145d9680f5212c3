"""Static: weights set by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from registry import reweighting_policies
from registry.core import near_matches
from registry.reweighting.base import ReweightingPolicy, SignalKind
from registry.reweighting.numerics import is_number, mean_one, require

DOUBLED = frozenset({"accuracy", "iou"})
"""What the paper's hand-set weights count twice, against formats and the rest."""


@reweighting_policies.register("static")
class Static(ReweightingPolicy):
    """Weights objectives by numbers set by hand, the same at every step.

        λ_k = K · w_k / Σ_j w_j

    for K objectives with hand-set numbers w, of which only the ratios matter.

    Source: the static weights of RECAP (arXiv 2510.21978v2), which double accuracy and IoU against the formats.

    Args:
        objectives: names, or a mapping name -> signal kind.
        weights: objective -> w >= 0; an objective that is not mentioned has w = 1. None is the paper's choice: w = 2
            for objectives named ``accuracy`` or ``iou``, alone or as the last part of a per-domain name
            (``counting/accuracy``), in any case; 1 for all others.

    Raises:
        ValueError: an unknown objective, a number that is negative or not finite, or no number above 0.
    """

    def __init__(
        self,
        objectives: Iterable[str] | Mapping[str, SignalKind],
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(objectives)
        if weights is None:
            weights = {name: 2.0 for name in self.objectives if name.rsplit("/", 1)[-1].lower() in DOUBLED}
        for name, value in weights.items():
            if name not in self.signal_kinds:
                near = near_matches(name, self.objectives)
                hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(self.objectives)}"
                raise ValueError(f"static: weights names an unknown objective {name!r}; {hint}")
            require(is_number(value) and value >= 0, "static", f"weights[{name!r}]", "be a finite number >= 0", value)
        raw = {name: float(weights.get(name, 1.0)) for name in self.objectives}
        require(any(raw.values()), "static", "weights", "leave at least one objective above 0", dict(weights))
        self._weights = mean_one(raw, self.objectives)

    def update(self, signals: Mapping[str, float]) -> None:
        self.check_known(signals)

    @property
    def weights(self) -> dict[str, float]:
        return dict(self._weights)
