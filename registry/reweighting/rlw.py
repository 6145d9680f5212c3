"""RLW: weights drawn at random."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from registry import reweighting_policies
from registry.reweighting.base import ReweightingPolicy, SignalKind
from registry.reweighting.numerics import mean_one, require, require_state, softmax


@reweighting_policies.register("rlw")
class RandomLossWeighting(ReweightingPolicy):
    """Weights objectives by random numbers, drawn anew at every step.

        λ = K · softmax(z),   z_k ~ N(0, 1)

    Source: random loss weighting (arXiv 2111.10603, Section 3.1), with the normal distribution. The control of every
    study of weights: what it reaches needs no reason for the weights.

    Args:
        objectives: names, or a mapping name -> signal kind.
        seed: >= 0; the weights of a step follow from the seed and the number of the step. None: that of the run.

    Raises:
        ValueError: a negative seed.
    """

    def __init__(self, objectives: Iterable[str] | Mapping[str, SignalKind], seed: int | None = None) -> None:
        super().__init__(objectives)
        holds = seed is None or (isinstance(seed, int) and seed >= 0)
        require(holds, "rlw", "seed", "be None or an integer >= 0", seed)
        self.seed = seed or 0
        self._seed_is_given = seed is not None
        self._move_to(0)

    def take_seed(self, seed: int) -> None:
        if not self._seed_is_given:
            self.seed = seed
            self._move_to(self._step)

    def update(self, signals: Mapping[str, float]) -> None:
        self.check_known(signals)
        self._move_to(self._step + 1)

    @property
    def weights(self) -> dict[str, float]:
        return dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        require_state("rlw", state, ("step",))
        self._move_to(state["step"])

    def _move_to(self, step: int) -> None:
        self._step = step
        rng = random.Random(self.seed << 64 | step)
        self._weights = mean_one(softmax({name: rng.gauss(0, 1) for name in self.objectives}), self.objectives)
