"""Did it answer in tags?"""

from __future__ import annotations

from registry import verifiers
from registry.example import Example
from registry.verifiers.base import Verifier
from registry.verifiers.tags import is_answer


@verifiers.register("answer_format")
class AnswerFormat(Verifier):
    """1 where the completion is `<answer>...</answer>` and nothing else, otherwise 0.

    White space may stand around the tags; the answer may be empty.

    Source: RECAP (arXiv 2510.21978v2), answer format reward of the perception domains. Differs: the published code asks
    for a full match of ``<answer>.*?</answer>``, which several answers in a row pass too. Here each tag must occur
    exactly once; `strict = False` gives the published reading.

    >>> judge = AnswerFormat()
    >>> example = Example(id="1", question="where?", answer="[0, 0, 4, 4]", box_frame="file")
    >>> judge("<answer>[0, 0, 4, 3]</answer>", example)
    1.0
    >>> judge("it is <answer>[0, 0, 4, 3]</answer>", example)
    0.0

    Args:
        strict: both tags exactly once.
    """

    quick = True

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict

    def __call__(self, completion: str, example: Example) -> float:
        return float(is_answer(completion, self.strict))
