"""Did it think long enough, and not too long?"""

from __future__ import annotations

from registry import verifiers
from registry.example import Example
from registry.verifiers.base import Verifier
from registry.verifiers.tags import END_THINK, THINK
from registry.verifiers.words import words_of


@verifiers.register("thinking_length")
class ThinkingLength(Verifier):
    """1 where the thoughts before `</think>` have the wished number of words, falling to 0 on either side.

    Below `at_least` the reward is words / at_least; above `at_most` it falls in a straight line to 0 at `at_most + margin`.
    Only different words count below, so that one word over and over is no thought. Without `</think>` it is 0.

    Source: the soft overlong punishment of DAPO (arXiv 2503.14476, equation 13), 1 added, words for tokens. The lower bound
    is ours.

    >>> judge = ThinkingLength(at_least=4, at_most=6, margin=4)
    >>> example = Example(id="1", question="?", answer="4")
    >>> judge("<think>two and two make four</think>4", example), judge("<think>four</think>4", example)
    (1.0, 0.25)
    >>> judge("<think>one two three four five six seven</think>4", example)
    0.75

    Args:
        at_least: words, at least 0.
        at_most: words; None: no limit.
        margin: words over which the reward falls to 0, at least 1.

    Raises:
        ValueError: bounds that leave nothing between them, a margin below 1.
    """

    quick = True

    def __init__(self, at_least: int = 1, at_most: int | None = None, margin: int = 100) -> None:
        if at_least < 0 or (at_most is not None and at_most < at_least):
            raise ValueError(f"verifiers.thinking_length: 0 <= at_least <= at_most; they are {at_least} and {at_most}")
        if margin < 1:
            raise ValueError(f"verifiers.thinking_length.margin must be at least 1; it is {margin}")
        self.at_least = at_least
        self.at_most = at_most
        self.margin = margin

    def __call__(self, completion: str, example: Example) -> float:
        words = thought_words(completion)
        if words is None:
            return 0.0
        different = len(set(words))
        if different < self.at_least:
            return different / self.at_least
        return falling(len(words), self.at_most, self.margin)


def thought_words(completion: str) -> list[str] | None:
    """The words before the last `</think>`; None of a completion that has none.

    >>> thought_words("<think>two and two</think><answer>4</answer>"), thought_words("four")
    (['two', 'and', 'two'], None)
    """
    thought, end, _ = completion.rpartition(END_THINK)
    return words_of(thought.replace(THINK, " ").replace(END_THINK, " ")) if end else None


def falling(length: int, at_most: int | None, margin: int) -> float:
    """1 up to `at_most`, from there in a straight line to 0 at `at_most + margin`."""
    return 1.0 if at_most is None else min(1.0, max(0.0, (at_most + margin - length) / margin))
