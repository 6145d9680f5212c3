"""Comparisons of a short answer with its reference that cannot be wrong: as text, as an option, as a plain number.

Nothing here evaluates an expression, so nothing here can hang.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from registry.verifiers.numerals import Number, read_number, same_number
from registry.verifiers.spelling import clean, text_key, tidy
from registry.verifiers.units import SCALES, read_unit

_LETTER = re.compile(r"(?:(?:option|choice) )?[(\[]?([A-Za-z])[)\].:]{0,2}", re.IGNORECASE)
_LETTER_AND_TEXT = re.compile(
    r"(?:(?:option|choice) )?[(\[]?([A-Za-z])[)\].:]{1,2}\s*(\S.*)", re.DOTALL | re.IGNORECASE
)
_MINUS = re.compile(r"(?:negative|minus) ", re.IGNORECASE)
_CURRENCY = re.compile(r"([+-]?) ?([$€£¥₹])(?=[ \d.])")
_SCALE = re.compile(rf" ({'|'.join(SCALES)})(?![A-Za-z])")
_RELATION = re.compile(r"[<>∈∉,;]|\\(?:le|ge|ne|in|notin|pm|mp|cup|ldots)(?![A-Za-z])")
_CHAIN = re.compile(r"=|\\approx")
_INDEX = r"(?:'|’|_\w|_\{[^{}]{1,20}\})*"
_VARIABLE = rf"(?:[A-Za-z]|\\(?!pi)[a-z]{{2,7}}){_INDEX}"
_ARGUMENTS = r"(?: ?\([^()=<>]{1,30}\))?"
_POINTS = r"(?:\\(?:angle|triangle|overline|overrightarrow|widehat) ?\{?|∠ ?|△ ?|\|)?[A-Z]{1,5}\}?\|?"
_WORDS = r"(?:[A-Za-z]{4,15}|(?:the|its|sum|max|min|gcd|lcm|ans))(?: [A-Za-z]{1,15}){0,5}"
_NAME = re.compile(
    rf"(?:{_VARIABLE}|{_WORDS}){_ARGUMENTS}|{_POINTS}{_INDEX}|\\?(?:max|min|gcd|lcm) ?\([^()=]{{1,30}}\)"
)
_NAMES = re.compile(rf"\( ?{_VARIABLE}(?: ?, ?{_VARIABLE}){{1,9}} ?\)")
_FUNCTION = re.compile(r"\\?(?:frac|sqrt|sin|cos|tan|cot|log|ln|exp|sum|int|lim)(?![a-z])")
_SUM = re.compile(r"[\d .()+\-*/×·÷^{}]{1,200}|(?:[\d .()+\-*/×·÷^{}]|\\(?:times|cdot|div|frac)){1,100}")


@dataclass(frozen=True)
class Quantity:
    """A plain number and its unit, '' where it has none."""

    number: Number
    unit: str


def same_text(a: str, b: str) -> bool:
    """Whether two texts agree but for case, white space and marks that carry no meaning.

    >>> same_text("New York.", "new  york"), same_text("2a", "2A"), same_text("12, 345", "12,345")
    (True, False, False)
    """
    key = text_key(a)
    return bool(key) and key == text_key(b)


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
    if unit is None or (unit and currency and unit != currency):
        return None
    value = -number.value if negative else number.value
    return Quantity(Number(value, number.percent, number.quotient, number.decimals), unit or currency)


def same_quantity(answer: Quantity, reference: Quantity) -> bool:
    """Whether the numbers agree and no unit contradicts the other; one without a unit fits any.

    >>> same_quantity(read_quantity("3"), read_quantity("3 cm")), same_quantity(read_quantity("3 m"), read_quantity("3 cm"))
    (True, False)
    """
    if (answer.number.percent and reference.unit) or (reference.number.percent and answer.unit):
        return False
    return same_unit(answer.unit, reference.unit) and same_number(answer.number, reference.number)


def same_unit(a: str, b: str) -> bool:
    return not a or not b or a == b


def value_of_chain(text: str) -> Quantity | None:
    r"""The plain number at the end of "x = 5", "47 + 38 = 85" or "x = 1/3 \approx 0.33"; None where that is no answer.

    What stands before must be a name or a sum of numbers: "2x = 5" and "x^2 + y^2 = 25" say nothing of 5 or 25.

    >>> [value_of_chain(text) is not None for text in ("x = 5", "47 + 38 = 85", "2x = 5", "x > 5", "a = 3, b = 5")]
    [True, True, False, False, False]
    """
    if _RELATION.search(text):
        return None
    exact = text.partition(r"\approx")[0] if "=" in text else text
    parts = [part.strip() for part in _CHAIN.split(exact)]
    if len(parts) < 2 or not (is_name(parts[0]) or _SUM.fullmatch(parts[0])):
        return None
    if not all(_SUM.fullmatch(part) for part in parts[1:-1]):
        return None
    return read_quantity(parts[-1])


def is_name(text: str) -> bool:
    r"""Whether a text names a quantity: "x", "AB", "f(3)", "|AB|", "(p, q)", "\angle ABC", "the area".

    >>> [is_name(text) for text in ("x", "f(3)", "x_1", "AB", "2x", "x + y", "xy", "|x|")]
    [True, True, True, True, False, False, False, False]
    """
    text = text.strip()
    named = _NAMES.fullmatch(text) or _NAME.fullmatch(text)
    return named is not None and not _FUNCTION.match(text)


def option_index(text: str, choices: Sequence[str]) -> int | None:
    """The option meant by its text, its letter, or both; None where it is none of them, or letter and text disagree.

    >>> [option_index(text, ("cat", "dog")) for text in ("Dog", "b", "(B)", "B. dog", "B) cat", "option B", "C")]
    [1, 1, 1, 1, None, 1, None]
    """
    text = tidy(text)
    by_text = _index_of(text, choices)
    if by_text is not None:
        return by_text
    if match := _LETTER.fullmatch(text):
        index, rest = _letter_index(match[1]), None
    elif match := _LETTER_AND_TEXT.fullmatch(text):
        index, rest = _letter_index(match[1]), _index_of(match[2], choices)
    else:
        return None
    if index >= len(choices) or rest not in (None, index):
        return None
    others = [choice for i, choice in enumerate(choices) if i != index]
    named = match.re is _LETTER_AND_TEXT and rest is None and any(_names(match[2], choice) for choice in others)
    return None if named else index


def option_of_reference(reference: str, choices: Sequence[str]) -> int | None:
    """The right option, as a reference names it: as `option_index`, or as "1.0", a number counted from 0.

    >>> option_of_reference("1.0", ("cat", "dog")), option_of_reference("E", ("cat", "dog"))
    (1, None)
    """
    found = option_index(reference, choices)
    if found is None and re.fullmatch(r"\d{1,2}(?:\.0+)?", reference.strip()):
        index = int(float(reference))
        return index if index < len(choices) else None
    if found is None and (letter := leading_letter(reference)) and _letter_index(letter) < len(choices):
        match = _LETTER_AND_TEXT.fullmatch(tidy(reference))
        return _letter_index(letter) if match is None else None
    return found


def leading_letter(text: str) -> str | None:
    """The letter of an option, in upper case, where the options themselves are unknown.

    >>> leading_letter("(b)"), leading_letter("B. a dog"), leading_letter("a dog")
    ('B', 'B', None)
    """
    text = tidy(text)
    match = _LETTER.fullmatch(text) or _LETTER_AND_TEXT.fullmatch(text)
    return match[1].upper() if match else None


def is_lone_letter(text: str) -> bool:
    """Whether a reference is the letter of an option and nothing else: "B", "(b)", "B."."""
    return _LETTER.fullmatch(tidy(text)) is not None


def _names(text: str, choice: str) -> bool:
    """Whether a text speaks of an option."""
    return re.search(rf"(?<!\w){re.escape(tidy(choice))}(?!\w)", text, re.IGNORECASE) is not None


def _index_of(text: str, choices: Sequence[str]) -> int | None:
    same = [i for i, choice in enumerate(choices) if same_text(text, choice)]
    if not same and (quantity := read_quantity(clean(text))):
        read = [read_quantity(clean(choice)) for choice in choices]
        same = [i for i, choice in enumerate(read) if choice is not None and same_quantity(quantity, choice)]
        if len(same) > 1:
            return None
    return same[0] if same else None


def _letter_index(letter: str) -> int:
    return ord(letter.upper()) - ord("A")
