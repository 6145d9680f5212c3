"""A reward that counts only where another holds."""

from __future__ import annotations

from registry import verifiers
from registry.example import Example
from registry.verifiers.base import UNDECIDED, Undecided
from registry.verifiers.composition import Composed, Part


@verifiers.register("gate")
class Gate(Composed):
    """The reward of one verifier where a condition holds, otherwise 0: accuracy counts only in the right format.

    The rule of most text RLVR since DeepSeek-R1's reproductions: a right answer in a wrong format earns nothing. A condition
    that does not apply to an example holds. The verifier is asked in full only where the condition holds.

    >>> from registry.verifiers.answer_format import AnswerFormat
    >>> from registry.verifiers.text_similarity import TextSimilarity
    >>> judge = Gate(condition=AnswerFormat(), verifier=TextSimilarity())
    >>> example = Example(id="1", question="read.", answer="hello")
    >>> judge("<answer>hallo</answer>", example), judge("It says <answer>hello</answer>", example)
    (0.8, 0.0)

    Args:
        condition: a verifier; it holds where its reward is at least `threshold`.
        verifier: what is earned then.
        threshold: in (0, 1].

    Raises:
        ValueError: something that is no verifier, a threshold out of range.
    """

    def __init__(self, condition: Part, verifier: Part, threshold: float = 1.0) -> None:
        super().__init__("verifiers.gate", (condition, verifier))
        if not 0 < threshold <= 1:
            raise ValueError(f"verifiers.gate.threshold must lie in (0, 1]; it is {threshold}")
        self.threshold = threshold

    def __call__(self, completion: str, example: Example) -> float | None:
        decided = self.shortcut(completion, example)
        if decided is not UNDECIDED:
            return decided
        condition, verifier = self.parts
        return (
            self.full(verifier, completion, example) if self._holds(self.full(condition, completion, example)) else 0.0
        )

    def shortcut(self, completion: str, example: Example) -> float | Undecided | None:
        condition, verifier = (self.here(part, completion, example) for part in self.parts)
        if verifier is None:
            return None  # first: whether it applies does not depend on the completion's format
        if condition is UNDECIDED:
            return UNDECIDED
        return verifier if self._holds(condition) else 0.0

    def _holds(self, reward: float | None) -> bool:
        return reward is None or reward >= self.threshold
