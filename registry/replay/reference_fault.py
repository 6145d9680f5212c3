"""References that no answer could meet, found when a row is read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from registry.example import MalformedExample

_LONE_LETTER = re.compile(r"\s*[(\[]?([A-Za-z])[)\].:]{0,2}\s*")
_LONE_NUMBER = re.compile(r"\s*(\d{1,3})(?:\.0+)?\s*")


def check_option(answer: str, choices: Sequence[str]) -> str:
    """The answer, unless it is the letter or number of an option that the row does not have.

    >>> check_option("B", ("cat", "dog"))
    'B'

    Raises:
        MalformedExample: 'E' of four choices.
    """
    if not choices or answer.strip().casefold() in {choice.strip().casefold() for choice in choices}:
        return answer
    letter, number = _LONE_LETTER.fullmatch(answer), _LONE_NUMBER.fullmatch(answer)
    index = ord(letter[1].upper()) - ord("A") if letter else int(number[1]) if number else 0
    if index >= len(choices):
        last = chr(ord("A") + len(choices) - 1)
        raise MalformedExample(f"answer {answer!r} is none of the {len(choices)} choices, A to {last}")
    return answer
