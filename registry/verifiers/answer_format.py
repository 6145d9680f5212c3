"""Did it answer in the format?"""

from __future__ import annotations

from registry import verifiers
from registry.example import Example
from registry.verifiers.answers import is_formatted
from registry.verifiers.base import Verifier


@verifiers.register("answer_format")
class AnswerFormat(Verifier):
    """1 where the completion is `<answer>...</answer>` and nothing else, otherwise 0.

    White space may stand around the tags; the answer may be empty. Where the domain's answers stand elsewhere
    (`Domain.answer`), 1 where there is one box, or one marker with the answer in the last line; working may stand before.

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
        strict: both tags, the box or the marker exactly once.
    """

    quick = True

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict

    def __call__(self, completion: str, example: Example) -> float:
        return float(is_formatted(completion, example, self.strict))
