"""Uniform: every objective counts the same."""

from __future__ import annotations

from collections.abc import Mapping

from registry import reweighting_policies
from registry.reweighting.base import ReweightingPolicy


@reweighting_policies.register("uniform")
class Uniform(ReweightingPolicy):
    """Weights every objective 1, always.

        λ_k = 1

    Source: the Uniform baseline of RECAP (arXiv 2510.21978v2), and the limit of RECAP as its temperature grows. What
    the paper also means by the name, that each source is sampled equally often, is a setting of the mixture.

    Args:
        objectives: names, or a mapping name -> signal kind.
    """

    def update(self, signals: Mapping[str, float]) -> None:
        self.check_known(signals)

    @property
    def weights(self) -> dict[str, float]:
        return dict.fromkeys(self.objectives, 1.0)
