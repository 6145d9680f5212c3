"""Does it say things once?"""

from __future__ import annotations

from registry import verifiers
from registry.example import Example
from registry.verifiers.base import Verifier
from registry.verifiers.words import words_of


@verifiers.register("no_repetition")
class NoRepetition(Verifier):
    """The share of different n-grams among all n-grams of words: 1 where none comes twice, towards 0 for a loop.

    A completion without a word earns 0; one shorter than n words that has some earns 1.

    Source: the repetition penalty of "Demystifying Long Chain-of-Thought Reasoning" (arXiv 2502.03373, appendix C.2) at full
    strength, 1 added, over words instead of tokens; TRL's `get_repetition_penalty_reward`, too.

    >>> judge = NoRepetition(ngram=2)
    >>> example = Example(id="1", question="?", answer="4")
    >>> judge("it is four", example), judge("four four four four four", example)
    (1.0, 0.25)

    Args:
        ngram: n, at least 1.

    Raises:
        ValueError: n below 1.
    """

    quick = True

    def __init__(self, ngram: int = 3) -> None:
        if ngram < 1:
            raise ValueError(f"verifiers.no_repetition.ngram must be at least 1; it is {ngram}")
        self.ngram = ngram

    def __call__(self, completion: str, example: Example) -> float:
        words = words_of(completion)
        total = len(words) - self.ngram + 1
        if total < 1:
            return float(bool(words))
        return len(set(zip(*(words[start:] for start in range(self.ngram)), strict=False))) / total
