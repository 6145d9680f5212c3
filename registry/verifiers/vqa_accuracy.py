"""How many of the people who were asked gave this answer?"""

from __future__ import annotations

from registry import verifiers
from registry.example import Example
from registry.verifiers.answers import answer_of
from registry.verifiers.base import Verifier
from registry.verifiers.listed_answers import listed_answers
from registry.verifiers.vqa_text import vqa_answer

MAX_CHARS = 1000


@verifiers.register("vqa_accuracy")
class VQAAccuracy(Verifier):
    """min(n / 3, 1) for n people who gave the answer, averaged over all choices of nine of the ten people.

    Source: VQA v2 (arXiv 1612.00837) and its script `vqaEval.py`, also the score of TextVQA, OK-VQA and VizWiz. Answer and
    references lose punctuation, articles and case, numbers up to ten become digits, contractions get their apostrophe. The
    ten answers stand in ``metadata['answers']``, as texts or as ``{'answer': ...}``.

    Differs: `vqaEval.py` takes no more than the punctuation of references, and nothing where all agree; on annotations that
    are processed already, for which it is made, that is the same. TextVQA's evaluator processes raw references, as here, but
    joins what a comma parts and parts 's from its word. Every full stop goes that no digit follows; the scripts stop at 32
    of them. A text of articles or punctuation alone stays: "the" is not "a".

    >>> people = ("yes",) * 8 + ("no",) * 2
    >>> example = Example(id="1", question="a dog?", answer="yes", metadata={"answers": people})
    >>> judge = VQAAccuracy()
    >>> judge("<answer>Yes.</answer>", example), round(judge("<answer>no</answer>", example), 3)
    (1.0, 0.6)

    Raises:
        ValueError: at a call, an example with fewer than two answers: one person would be compared with nobody.
    """

    quick = True

    def __call__(self, completion: str, example: Example) -> float:
        references = listed_answers(example)
        if len(references) < 2:
            raise ValueError(
                f"example {example.id!r}: vqa_accuracy needs the answers of several people in metadata['answers'];"
                " for one reference there is @verifiers.accuracy()"
            )
        given = answer_of(completion, example) or ""
        if not given.strip() or len(given) > MAX_CHARS:
            return 0.0
        same = [vqa_answer(reference) for reference in references].count(vqa_answer(given))
        others = len(references) - same
        return (same * min(1.0, (same - 1) / 3) + others * min(1.0, same / 3)) / len(references)
