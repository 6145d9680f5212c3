"""Several rewards that make up for each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from registry import verifiers
from registry.example import Example
from registry.verifiers.base import UNDECIDED, Undecided
from registry.verifiers.composition import Composed, Part


@verifiers.register("weighted_sum")
class WeightedSum(Composed):
    """The weighted mean of several rewards: Σ w r / Σ w over the parts that apply.

    Dividing by Σ w keeps it in [0, 1], whatever the weights. Parts that do not apply to an example are left out; where none
    applies, the sum does not (None). As one objective; parts that are objectives of their own are weighted by λ instead.

    >>> from registry.verifiers.answer_format import AnswerFormat
    >>> from registry.verifiers.text_similarity import TextSimilarity
    >>> judge = WeightedSum([TextSimilarity(), AnswerFormat()], weights=[3, 1])
    >>> example = Example(id="1", question="read.", answer="hello")
    >>> judge("<answer>hello</answer>", example), judge("It says <answer>hello</answer>", example)
    (1.0, 0.75)

    Args:
        parts: verifiers, or functions with their signature.
        weights: one for each part, at least 0 and not all 0; None: equal ones.

    Raises:
        ValueError: no parts, something that is no verifier, weights that are negative, all 0, or not as many as parts.
    """

    def __init__(self, parts: Sequence[Part], weights: Sequence[float] | None = None) -> None:
        super().__init__("verifiers.weighted_sum", parts)
        self.weights = tuple(map(float, weights)) if weights is not None else (1.0,) * len(self.parts)
        usable = all(0 <= weight < math.inf for weight in self.weights) and sum(self.weights) > 0
        if len(self.weights) != len(self.parts) or not usable:
            raise ValueError(
                f"verifiers.weighted_sum.weights must be {len(self.parts)} numbers, one for each part, at least 0 and not all"
                f" 0; they are {weights}"
            )

    def __call__(self, completion: str, example: Example) -> float | None:
        return self._mean([self.full(part, completion, example) for part in self.parts])

    def shortcut(self, completion: str, example: Example) -> float | Undecided | None:
        known: list[float | None] = []
        for part in self.parts:
            reward = self.here(part, completion, example)
            if reward is UNDECIDED:
                return UNDECIDED
            known.append(reward)
        return self._mean(known)

    def _mean(self, rewards: Sequence[float | None]) -> float | None:
        given = [(weight, reward) for weight, reward in zip(self.weights, rewards, strict=True) if reward is not None]
        total = math.fsum(weight for weight, _ in given)
        if not total:
            return None
        return min(1.0, math.fsum(weight * reward for weight, reward in given) / total)
