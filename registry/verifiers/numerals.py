r"""Plain numbers as they are written: "1,250.5", "\frac{3}{4}", "2 1/2", "3\times10^8", "75%", "0.1\overline{6}", all exactly.

Nothing here works a sum out: "47 + 38" is no number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MOST_DIGITS = 1000
MOST_EXPONENT = 400
SURE_DIGITS = 6  # that a decimal must give of a number that has no end

_DIGITS = rf"\d{{1,{MOST_DIGITS}}}"
_INTEGER = rf"(?:\d{{1,3}}(?:,\d{{3}}){{1,99}}(?!\d)|\d{{1,3}}(?: \d{{3}}){{1,99}}(?![\d/])|{_DIGITS})"
_DECIMAL = rf"(?:{_INTEGER}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})"
_TIMES = r"(?:[xX×·*]|\\times|\\cdot)"
_POWER = r"10 ?\^ ?(?:[{(] ?([+-]?\d{1,4}) ?[)}]|([+-]?\d{1,4}))"
_SIGN = r"[+-]?"
_SCIENTIFIC = re.compile(rf"({_DECIMAL})(?:[eE]([+-]?\d{{1,4}})| ?{_TIMES} ?{_POWER})?")
_POWER_OF_TEN = re.compile(_POWER)
_QUOTIENT = re.compile(
    rf"({_DECIMAL}) ?/ ?({_SIGN}{_DECIMAL})|\\frac ?\{{ ?({_SIGN} ?{_DECIMAL}) ?\}} ?\{{ ?({_SIGN} ?{_DECIMAL}) ?\}}"
)
_MIXED = re.compile(rf"({_INTEGER}) ?(?:\\frac\{{({_DIGITS})\}}\{{({_DIGITS})\}}|(?<= )({_DIGITS})/({_DIGITS}))")
_REPEATING = re.compile(
    rf"({_INTEGER})?\.({_DIGITS})?"
    r"(?:\\(?:overline|bar|overbar) ?(?:\{ ?(\d{1,50}) ?\}|(\d))|\\dot ?\{?(\d)\}?(?:(\d{0,50})\\dot ?\{?(\d)\}?)?"
    r"|\((\d{1,50})\))"
)
_RUNNING_ON = re.compile(rf"({_INTEGER})?\.(\d{{0,50}}?)(\d)\3{{2,}} ?\\ldots")  # 0.1666...
_DECIMAL_COMMA = re.compile(rf"([+-]? ?(?:0|[1-9]\d{{0,{MOST_DIGITS}}})),(\d{{1,{MOST_DIGITS}}})")
_THOUSANDS = re.compile(r"[1-9]\d{0,2},\d{3}")


@dataclass(frozen=True)
class Number:
    """A number as written.

    Attributes:
        value: without its percent sign.
        percent: it had one.
        quotient: it was written as a quotient, or with digits that repeat.
        decimals: how many places it was given to.
    """

    value: Fraction
    percent: bool = False
    quotient: bool = False
    decimals: int = 0


def read_number(text: str) -> tuple[Number, str] | None:
    r"""The number with which a text begins, and what stands behind it; None where it does not begin with one.

    >>> read_number("1,250.5 km")
    (Number(value=Fraction(2501, 2), percent=False, quotient=False, decimals=1), ' km')
    >>> read_number(r"-2\frac{1}{2}")[0].value, read_number(r"0.1\overline{6}")[0].value, read_number("x") is None
    (Fraction(-5, 2), Fraction(1, 6), True)
    """
    text = text.lstrip()
    negative = text[:1] == "-"
    text = text[1:].lstrip() if text[:1] in ("+", "-") else text
    found = _repeating(text) or _mixed(text) or _quotient(text) or _scientific(text)
    if found is None:
        return None
    number, rest = found
    value = -number.value if negative else number.value
    if percent := re.match(r"(?: ?\\?%| ?(?:percent(?:age)?|per cent|pct)(?![A-Za-z]))(?! points?)", rest):
        return Number(value, True, number.quotient, number.decimals), rest[percent.end() :]
    return Number(value, False, number.quotient, number.decimals), rest


def same_number(answer: Number, reference: Number) -> bool:
    """Whether an answer gives the reference's value.

    50 and 0.5 both agree with 50 %. A quotient agrees with a whole number only where the reference is one, too: copying
    "84 / 2" out of the question is no answer to it. A decimal of six digits or more, rounded rightly, agrees with a
    quotient that has no end: 0.333333 with 1/3.
    """
    if answer.quotient and not reference.quotient and reference.value.denominator == 1 and not reference.percent:
        return False
    if _agree(answer, reference):
        return True
    if answer.percent == reference.percent:
        return False
    percent, plain = (answer, reference) if answer.percent else (reference, answer)
    return _agree(plain, Number(percent.value / 100, quotient=percent.quotient, decimals=percent.decimals + 2))


def with_decimal_point(text: str) -> str | None:
    """A number with a decimal comma, with a point instead; None for others, and where the comma may part thousands.

    >>> with_decimal_point("1000,99"), with_decimal_point("0,111"), with_decimal_point("1,000")
    ('1000.99', '0.111', None)
    """
    match = _DECIMAL_COMMA.fullmatch(text)
    return None if match is None or _THOUSANDS.fullmatch(text.lstrip("+- ")) else f"{match[1]}.{match[2]}"


def _agree(a: Number, b: Number) -> bool:
    if a.value == b.value:
        return True
    decimal, exact = (a, b) if b.quotient else (b, a)
    if not exact.quotient or decimal.quotient:
        return False
    sure = len(str(abs(int(decimal.value * 10**decimal.decimals)))) >= SURE_DIGITS
    return sure and round(exact.value, decimal.decimals) == decimal.value


def _scientific(text: str) -> tuple[Number, str] | None:
    if power := _POWER_OF_TEN.match(text):
        exponent = int(power[1] or power[2])
        return (Number(Fraction(10) ** exponent), text[power.end() :]) if abs(exponent) <= MOST_EXPONENT else None
    match = _SCIENTIFIC.match(text)
    if match is None:
        return None
    mantissa = _plain(match[1])
    exponent = int(match[2] or match[3] or match[4] or 0)
    if abs(exponent) > MOST_EXPONENT:
        return None
    decimals = len(match[1].partition(".")[2])
    return Number(mantissa * Fraction(10) ** exponent, decimals=max(0, decimals - exponent)), text[match.end() :]


def _repeating(text: str) -> tuple[Number, str] | None:
    """A decimal whose last digits repeat without end: under a line, between dots, in brackets, or before three dots."""
    match = _REPEATING.match(text)
    if match is not None:
        cycle = match[3] or match[4] or match[8] or f"{match[5]}{match[6] or ''}{match[7] or ''}"
    elif match := _RUNNING_ON.match(text):
        cycle = match[3]
    else:
        return None
    fixed = match[2] or ""
    places = 10 ** len(fixed)
    value = _plain(match[1] or "0") + Fraction(int(fixed or 0), places)
    value += Fraction(int(cycle), (10 ** len(cycle) - 1) * places)
    return Number(value, quotient=True), text[match.end() :]


def _quotient(text: str) -> tuple[Number, str] | None:
    match = _QUOTIENT.match(text)
    if match is None:
        return None
    top, bottom = (_plain(part) for part in match.groups() if part is not None)
    return (Number(top / bottom, quotient=True), text[match.end() :]) if bottom else None


def _mixed(text: str) -> tuple[Number, str] | None:
    match = _MIXED.match(text)
    if match is None:
        return None
    whole, top, bottom = (int(part.replace(",", "").replace(" ", "")) for part in match.groups() if part is not None)
    if not 0 <= top < bottom:
        return None
    return Number(whole + Fraction(top, bottom), quotient=True), text[match.end() :]


def _plain(digits: str) -> Fraction:
    return Fraction(digits.replace(",", "").replace(" ", "").rstrip(".") or "0")
