"""How close a transcription is to the reference."""

from __future__ import annotations

from rapidfuzz.distance import Levenshtein

from registry import verifiers
from registry.example import Example
from registry.verifiers.answers import answer_of
from registry.verifiers.base import Verifier

MAX_CHARACTERS = 10_000  # of an answer; edit distance is quadratic


@verifiers.register("text_similarity")
class TextSimilarity(Verifier):
    """1 - edit distance / length of the longer text, between the answer and the reference.

    The usual graded score of reading (1 - character error rate, kept in [0, 1]). Case and space matter; space around the
    answer does not.

    >>> TextSimilarity()("<answer>hallo</answer>", Example(id="1", question="read.", answer="hello"))
    0.8
    """

    quick = True

    def __call__(self, completion: str, example: Example) -> float:
        answer = answer_of(completion, example)
        if answer is None or len(answer) > MAX_CHARACTERS:
            return 0.0
        return Levenshtein.normalized_similarity(answer.strip(), example.answer.strip())
