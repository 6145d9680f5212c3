"""How close is the text that was read to the nearest of the references?"""

from __future__ import annotations

from rapidfuzz.distance import Levenshtein

from registry import verifiers
from registry.example import Example
from registry.verifiers.answers import answer_of
from registry.verifiers.base import Verifier
from registry.verifiers.listed_answers import listed_answers

MAX_CHARS = 2000


@verifiers.register("anls")
class ANLS(Verifier):
    """1 - edit distance / length of the longer text, for the nearest reference; 0 where that is below 0.5.

    Average normalised Levenshtein similarity, the score of DocVQA, InfographicVQA and ST-VQA (arXiv 1905.13648, equation 1).
    Case and white space do not matter. Follows the script of the Robust Reading Competition: a similarity of exactly the
    threshold counts. Several references stand in ``metadata['answers']``.

    >>> example = Example(id="1", question="who?", answer="Ms. Smith", metadata={"answers": ("Ms. Smith", "Smith")})
    >>> judge = ANLS()
    >>> [judge(f"<answer>{answer}</answer>", example) for answer in ("smith", "Smyth", "Jones")]
    [1.0, 0.8, 0.0]

    Args:
        threshold: in [0, 1].

    Raises:
        ValueError: a threshold out of range; at a call, an example without a reference.
    """

    quick = True

    def __init__(self, threshold: float = 0.5) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"verifiers.anls.threshold must lie in [0, 1]; it is {threshold}")
        self.threshold = threshold

    def __call__(self, completion: str, example: Example) -> float:
        references = [_plain(reference) for reference in listed_answers(example)]
        answer = answer_of(completion, example)
        if answer is None or len(answer) > MAX_CHARS or not answer.strip():
            return 0.0
        best = max(Levenshtein.normalized_similarity(_plain(answer), reference) for reference in references)
        return best if best >= self.threshold else 0.0


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
