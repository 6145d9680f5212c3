"""How many words does the answer share with the reference?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from registry import verifiers
from registry.example import Example
from registry.verifiers.answers import answer_of
from registry.verifiers.base import Verifier
from registry.verifiers.listed_answers import listed_answers
from registry.verifiers.squad_text import squad_words

MAX_CHARS = 10_000


@verifiers.register("token_f1")
class TokenF1(Verifier):
    """F1 of the words of the answer and those of a reference, the best of several; case, punctuation and articles aside.

    Source: SQuAD (arXiv 1606.05250), F1 of its script: harmonic mean of the shares of words in common, words counted as often
    as they occur. Differs: an answer without a single word earns nothing. Several references stand in
    ``metadata['answers']``.

    >>> example = Example(id="1", question="where?", answer="in the old town of Bern")
    >>> judge = TokenF1()
    >>> judge("<answer>the old town</answer>", example), judge("<answer>town town town</answer>", example)
    (0.5714285714285714, 0.25)

    Raises:
        ValueError: at a call, an example without a reference.
    """

    quick = True

    def __call__(self, completion: str, example: Example) -> float:
        references = [squad_words(reference) for reference in listed_answers(example)]
        answer = answer_of(completion, example) or ""
        words = squad_words(answer) if len(answer) <= MAX_CHARS else []
        return max(f1(words, reference) for reference in references)


def f1(words: Sequence[str], reference: Sequence[str]) -> float:
    """2 * common / (words + reference), 0 where nothing is in common."""
    common = (Counter(words) & Counter(reference)).total()
    return 2 * common / (len(words) + len(reference)) if common else 0.0
