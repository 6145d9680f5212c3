"""A plain number with its unit, and quantities in several units: "$5", "12 cm^2", "2 dozen", "3 hours 20 minutes".

Nothing here evaluates an expression, so nothing here can hang.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry.verifiers.numerals import Number, read_number, same_number
from registry.verifiers.units import SCALES, UNITS, read_unit, same_unit

_MINUS = re.compile(r"(?:negative|minus) ", re.IGNORECASE)
_CURRENCY = re.compile(r"([+-]?) ?(?:[A-Z]{1,2})?([$€£¥₹₩]|Rs\.?)(?=[ \d.]|-\d)")
_SCALE = re.compile(rf" ({'|'.join(SCALES)})(?![A-Za-z])")
_MIXED_PART = re.compile(r"\d[\d.]{0,20} [A-Za-z]{1,20}")
_MIXED = re.compile(rf"{_MIXED_PART.pattern}(?:(?: and|,(?: and)?)? {_MIXED_PART.pattern}){{1,3}}")


@dataclass(frozen=True)
class Quantity:
    """A plain number and its unit, '' where it has none."""

    number: Number
    unit: str


def read_quantity(text: str) -> Quantity | None:
    r"""The plain number that a `clean` text is, with its unit; None where it is anything else.

    >>> [read_quantity(text).number.value for text in ("1,250.5", "(-5)", "negative 5", "2 dozen", "$5")]
    [Fraction(2501, 2), Fraction(-5, 1), Fraction(-5, 1), Fraction(24, 1), Fraction(5, 1)]
    >>> [read_quantity(text) for text in ("5x", "47 + 38", "less than 5", "5 or 6", "5 dozens")]
    [None, None, None, None, None]
    """
    negative = False
    for _ in range(4):
        if text[:1] + text[-1:] in ("()", "{}") and not (text[0] == "(" and "," in text):  # a point is no number
            text = text[1:-1].strip()
        elif match := _MINUS.match(text) or re.match(r"- ?(?=[({])", text):
            if negative:
                return None
            negative, text = True, text[match.end() :].strip()
    currency = ""
    if match := _CURRENCY.match(text):
        currency, text = read_unit(match[2]) or "", match[1] + text[match.end() :]
    found = read_number(text)
    if found is None:
        return None
    number, rest = found
    if match := _SCALE.match(rest):
        number = Number(number.value * SCALES[match[1]], number.percent, number.quotient)
        rest = rest[match.end() :]
    unit = read_unit(rest)
    if unit is None or not same_unit(unit, currency):
        return None
    value = -number.value if negative else number.value
    return Quantity(Number(value, number.percent, number.quotient, number.decimals), unit or currency)


def same_quantity(answer: Quantity, reference: Quantity) -> bool:
    """Whether the numbers agree and no unit contradicts the other; one without a unit fits any.

    >>> same_quantity(read_quantity("3"), read_quantity("3 cm")), same_quantity(read_quantity("3 m"), read_quantity("3 cm"))
    (True, False)
    """
    for one, other in ((answer, reference), (reference, answer)):  # 25% and 25 apples; "25% increase" is 25%
        if one.number.percent and other.unit and (not other.number.percent or other.unit in UNITS.values()):
            return False
    return same_unit(answer.unit, reference.unit) and same_number(answer.number, reference.number)


def read_mixed(text: str) -> list[Quantity] | None:
    """The parts of a quantity in several units, "3 hours and 20 minutes"; None where it is none.

    >>> len(read_mixed("3 h 20 min")), read_mixed("3 h"), read_mixed("3 cats 2 dogs")
    (2, None, None)
    """
    if not _MIXED.fullmatch(text):
        return None
    found = [read_quantity(part) for part in _MIXED_PART.findall(text)]
    known = [part for part in found if part is not None and part.unit in UNITS.values()]
    return known if len(known) == len(found) else None
