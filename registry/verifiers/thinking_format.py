"""Did it think first, and answer in the format?"""

from __future__ import annotations

from registry import verifiers
from registry.example import Example
from registry.verifiers.answers import is_thought_and_formatted
from registry.verifiers.base import Verifier


@verifiers.register("thinking_format")
class ThinkingFormat(Verifier):
    """1 where the completion is `<think>...</think><answer>...</answer>` and nothing else, otherwise 0.

    White space may stand between the two parts and around them; either part may be empty. Where the
    domain's answers stand elsewhere (`Domain.answer`): 1 where `<think>...</think>` comes first, and behind it there is one
    box, or one marker with the answer in the last line.

    Source: RECAP (arXiv 2510.21978v2), thinking format reward. Differs: the published code asks for a full match of
    ``<think>.*?</think>\\s*<answer>.*?</answer>``, which a completion with nested or repeated tags passes too, so that
    a model may answer twice. Here each tag must occur exactly once; `strict = False` gives the published reading.

    >>> judge = ThinkingFormat()
    >>> example = Example(id="1", question="2+2?", answer="4")
    >>> judge("<think>two and two</think> <answer>4</answer>", example)
    1.0
    >>> judge("<think>hm</think><answer>3</answer><think>no</think><answer>4</answer>", example)
    0.0

    Args:
        strict: each of the four tags, the box or the marker exactly once.
    """

    quick = True

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict

    def __call__(self, completion: str, example: Example) -> float:
        return float(is_thought_and_formatted(completion, example, self.strict))
