"""Several rewards that must all be there."""

from __future__ import annotations

import math
from collections.abc import Sequence

from registry import verifiers
from registry.example import Example
from registry.verifiers.base import UNDECIDED, Undecided
from registry.verifiers.composition import Composed, Part


@verifiers.register("product")
class Product(Composed):
    """The product of several rewards: as good as nothing where one of them is.

    Parts that do not apply to an example are left out; where none applies, the product does not (None). In gin:
    ``@verifiers.product()`` with ``verifiers.product.parts = [@verifiers.iou(), @verifiers.answer_format()]``; parts of one
    kind with different settings take scopes. The parts run together: in the training process where all are quick, otherwise
    in one worker under one time limit, after their shortcuts.

    >>> from registry.verifiers.answer_format import AnswerFormat
    >>> from registry.verifiers.text_similarity import TextSimilarity
    >>> judge = Product([AnswerFormat(), TextSimilarity()])
    >>> example = Example(id="1", question="read.", answer="hello")
    >>> judge("<answer>hallo</answer>", example), judge("It says <answer>hello</answer>", example)
    (0.8, 0.0)

    Args:
        parts: verifiers, or functions with their signature.

    Raises:
        ValueError: no parts, or something that is no verifier.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__("verifiers.product", parts)

    def __call__(self, completion: str, example: Example) -> float | None:
        decided = self.shortcut(completion, example)
        if decided is not UNDECIDED:
            return decided
        return _multiplied([self.full(part, completion, example) for part in self.parts])

    def shortcut(self, completion: str, example: Example) -> float | Undecided | None:
        known: list[float | None] = []
        for part in self.parts:
            reward = self.here(part, completion, example)
            if reward is UNDECIDED:
                continue
            if reward == 0:
                return 0.0
            known.append(reward)
        return _multiplied(known) if len(known) == len(self.parts) else UNDECIDED


def _multiplied(rewards: Sequence[float | None]) -> float | None:
    given = [reward for reward in rewards if reward is not None]
    return math.prod(given) if given else None
