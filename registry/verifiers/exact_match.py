"""Is the answer one of the references, word for word?"""

from __future__ import annotations

from registry import verifiers
from registry.example import Example
from registry.verifiers.answers import answer_of
from registry.verifiers.base import Verifier
from registry.verifiers.listed_answers import listed_answers
from registry.verifiers.squad_text import squad_words

MAX_CHARS = 10_000


@verifiers.register("exact_match")
class ExactMatch(Verifier):
    """1 where the answer has the words of a reference, but for case, punctuation and the articles a, an, the; otherwise 0.

    Source: SQuAD (arXiv 1606.05250), exact match of its script. Differs: an answer without a single word earns nothing.
    Several references stand in ``metadata['answers']``.

    >>> example = Example(id="1", question="where?", answer="the Eiffel Tower")
    >>> ExactMatch()("<answer>Eiffel tower.</answer>", example), ExactMatch()("<answer>the tower</answer>", example)
    (1.0, 0.0)

    Raises:
        ValueError: at a call, an example without a reference.
    """

    quick = True

    def __call__(self, completion: str, example: Example) -> float:
        references = [squad_words(reference) for reference in listed_answers(example)]
        answer = answer_of(completion, example) or ""
        words = squad_words(answer) if len(answer) <= MAX_CHARS else []
        return float(bool(words) and words in references)
