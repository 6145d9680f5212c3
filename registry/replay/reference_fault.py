"""References that no answer could meet, found when a row is read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from registry.example import MalformedExample

_LETTER = re.compile(
    r"(?:(?:option|choice) )?[(\[]?([A-Za-z])(?:[)\].:]{0,2}|[)\].:]{1,2} ?\S.*)", re.DOTALL | re.IGNORECASE
)
_LEAD = re.compile(r"####|\banswer(?: is)?\s*:?\s+", re.IGNORECASE)
_WRAPPED = re.compile(r"\\(?:boxed|text|textbf|mathrm|mathbf)\{([^{}]*)\}")
_OUTER = " \t\n.$*`'\""
_FORMULA = re.compile(r"[\d\\^=+*/<>√π∞°%]")
_WORD = re.compile(r"(?<!\\)[^\W\d_]{4,}")


def check_option(answer: str, choices: Sequence[str]) -> str:
    r"""The answer, unless it is no option of the row: no letter and no text of one, nor a formula that may equal one.

    Digits as text are not taken for the number of an option, which some tables count from 0 and some from 1.

    >>> check_option("B", ("cat", "dog")), check_option("0.5", (r"\frac{1}{2}", "1"))
    ('B', '0.5')

    Raises:
        MalformedExample: 'E' of four choices, "fish" of a cat and a dog.
    """
    told = _WRAPPED.sub(r"\1", _LEAD.split(answer)[-1])
    numbers = {_number(choice) for choice in choices} - {None}
    if not choices or _plain(told) in map(_plain, choices) or _number(told) in numbers:
        return answer
    if letter := _LETTER.fullmatch(told.strip(_OUTER)):
        possible = ord(letter[1].upper()) - ord("A") < len(choices)
    else:
        possible = _is_formula(answer) and any(map(_is_formula, choices)) and not _counts(answer)
    if possible:
        return answer
    last = chr(ord("A") + len(choices) - 1)
    hint = "; where it is the number of one, from 0, bind convert = 'choice_index'" if _counts(answer) else ""
    raise MalformedExample(f"answer {answer[:80]!r} is none of the {len(choices)} choices, A to {last}{hint}")


def _plain(text: str) -> str:
    return " ".join(text.strip(_OUTER).casefold().split())


def _number(text: str) -> float | None:
    try:
        return float(text.strip(_OUTER))
    except ValueError:
        return None


def _counts(text: str) -> bool:
    number = _number(text)
    return number is not None and number.is_integer()


def _is_formula(text: str) -> bool:
    return _FORMULA.search(text) is not None and _WORD.search(text) is None
