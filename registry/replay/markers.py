"""Where the pictures stand in a question: its ``<image>`` markers.

row      'Compare <image> with <image>.'   [a, b]      -> kept: each picture where its marker stands
row      '<image>\\n<image> What moved?'   [a, b]      -> 'What moved?'   pictures first, as they come without markers
row      'Is <image 2> like <image 1>?'    [a, b]      -> 'Is <image> like <image>?'   [b, a]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from registry.example import MalformedExample

MARKER = "<image>"
"""Stands for one picture in `Example.question`, which has as many as pictures, or none: all pictures come first."""

LEADING = re.compile(r"^(\s*<image>)+\s*")
NUMBERED = re.compile(r"<image[ _]?(\d+)>")

P = TypeVar("P")


def place(question: str, pictures: Sequence[P], hint: str = "") -> tuple[str, tuple[P, ...]]:
    """The question with as many ``<image>`` markers as pictures, or none, and the pictures in their order.

    Markers that all stand in front say what the lack of any says: they go. Numbered ones (MMMU's ``<image 1>``) become plain
    ones, each picture in the place of its number, as often as it is named; pictures that are not named come first.

    >>> place("<image> What is it?", ["cat"])
    ('What is it?', ('cat',))
    >>> place("Is <image 2> like <image 1>?", ["a", "b", "c"])
    ('<image>Is <image> like <image>?', ('c', 'b', 'a'))

    Raises:
        MalformedExample: another number of markers than pictures, or the number of a picture that is not there; the message
            ends with the hint.
    """
    if MARKER not in question and NUMBERED.search(question):
        question, pictures = _by_number(question, pictures, hint)
    count = question.count(MARKER)
    if count and count != len(pictures):
        raise MalformedExample(
            f"question has {_several(count, f'{MARKER} marker')} for {_several(len(pictures), 'picture')}{hint}"
        )
    leading = LEADING.match(question)
    if leading and leading[0].count(MARKER) == count:
        question = question[leading.end() :]
    return question, tuple(pictures)


def _by_number(question: str, pictures: Sequence[P], hint: str) -> tuple[str, list[P]]:
    named = [int(number) for number in NUMBERED.findall(question)]
    for number in named:
        if not 1 <= number <= len(pictures):
            raise MalformedExample(f"question names image {number} of {_several(len(pictures), 'picture')}{hint}")
    rest = [picture for number, picture in enumerate(pictures, 1) if number not in named]
    return MARKER * len(rest) + NUMBERED.sub(MARKER, question), [*rest, *(pictures[number - 1] for number in named)]


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
