"""The number that a sentence gives: "She sold 72 clips in April", "$18 per day"."""

from __future__ import annotations

import re

from registry.verifiers.quantities import Quantity, read_quantity
from registry.verifiers.units import CHANGING, denies, singular, unit_of_words

_BEFORE, _BEHIND = (
    r"(?:[A-Za-z][A-Za-z'’,-]{1,30}|I|a(?! -?[$€£]?\d)) ",
    r" (?:\(?[A-Za-z][A-Za-z'’,;)-]{1,30}|a)",
)  # no option's letter
_NUMBER = r"-?[$€£]?\d[\d,]{0,30}(?:\.\d{1,30})?%?"
_PROSE = re.compile(rf"((?:{_BEFORE}){{0,20}})({_NUMBER})((?:{_BEHIND}){{0,20}})\.?")
_WORD = re.compile(r"[a-z]+(?:['’-][a-z]+)*")
_NUMBERS = """one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"""
_LABELS = "could might question step option problem part case figure page number example equation"
_TELLING = CHANGING - {"of", "and", "both", "by", "at"} | {
    *_NUMBERS.split(),
    *_LABELS.split(),
}  # where nothing else is a number
_TELLING_BEFORE = _TELLING - {"remainder", "score", "base", "power"}  # which say what the number is
_OF_A_NUMBER = "square cube root product multiple factor multiples factors power base"
_DERIVED = frozenset(_OF_A_NUMBER.split())
_BEHIND_A_NUMBER = """per for with each every and both total altogether left during after before when
a an as at by for he i if in is it me my no of on or so to up us we"""
_NOT_COUNTED = frozenset(_BEHIND_A_NUMBER.split())


def quantity_in_prose(text: str) -> Quantity | None:
    """The number of a sentence that has one and says nothing that changes it; None where it does, or where it is no sentence.

    >>> [quantity_in_prose(text).number.value for text in ("She sold 72 clips in total", "$18 per day")]
    [Fraction(72, 1), Fraction(18, 1)]
    >>> [quantity_in_prose(text) for text in ("more than 72", "72 or 73", "5 and a half", "5x", "5 feet six", "the 5th")]
    [None, None, None, None, None, None]
    """
    match = _PROSE.fullmatch(text)
    if match is None or not match[1] + match[3]:
        return None
    before, number, after = match[1].split(), match[2], match[3].split()
    words = [word.strip(",;()'’-").lower() for word in (*before, *after)]
    if not all(_WORD.fullmatch(word) for word in words if word) or any(map(denies, words)):
        return None
    if not _TELLING_BEFORE.isdisjoint(words[: len(before)]) or not _TELLING.isdisjoint(words[len(before) :]):
        return None
    *_, last_but_one, last = ["", "", *words[: len(before)]]
    if last in ("after", "before") or (last == "of" and last_but_one in _DERIVED):
        return None
    found = read_quantity(number)
    if found is None:
        return None
    unit = unit_of_words([word.strip(",;()") for word in after])
    if unit and found.unit and unit != found.unit:
        return None
    behind = words[len(before)] if after else ""
    counted = singular(behind) if behind not in _NOT_COUNTED else ""
    return Quantity(found.number, unit or found.unit or counted)
