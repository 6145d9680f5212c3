"""Did it keep it short?"""

from __future__ import annotations

from registry import verifiers
from registry.example import Example
from registry.verifiers.answers import answer_of
from registry.verifiers.base import Verifier
from registry.verifiers.thinking_length import falling
from registry.verifiers.words import words_of


@verifiers.register("brevity")
class Brevity(Verifier):
    """1 where the completion has few words, falling to 0 over a margin; 0 where it has no answer.

    1 up to `at_most` words, then in a straight line to 0 at `at_most + margin`. Saying nothing is no brevity: without an
    answer the reward is 0. Meant as a part of a product or a weighted sum, as short wrong answers earn it, too.

    Source: the soft overlong punishment of DAPO (arXiv 2503.14476, equation 13), 1 added, words for tokens.

    >>> judge = Brevity(at_most=3, margin=4)
    >>> example = Example(id="1", question="2 + 2?", answer="4")
    >>> judge("<answer>4</answer>", example), judge("I see. <answer>4</answer>", example), judge("", example)
    (1.0, 0.5, 0.0)

    Args:
        at_most: words, those of tags included (``<answer>`` and ``</answer>`` are one each).
        margin: words over which the reward falls to 0, at least 1.

    Raises:
        ValueError: a number below 1.
    """

    quick = True

    def __init__(self, at_most: int = 200, margin: int = 100) -> None:
        if at_most < 1 or margin < 1:
            raise ValueError(
                f"verifiers.brevity: at_most and margin must be at least 1; they are {at_most} and {margin}"
            )
        self.at_most = at_most
        self.margin = margin

    def __call__(self, completion: str, example: Example) -> float:
        if not (answer_of(completion, example) or "").strip():
            return 0.0
        return falling(len(words_of(completion)), self.at_most, self.margin)
