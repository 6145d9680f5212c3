"""The number at the end of a chain of equations, and the names that may stand before it."""

from __future__ import annotations

import re

from registry.verifiers.quantities import Quantity, read_quantity

_IN_BRACKETS = re.compile(r"\([^()]*\)")
_RELATION = re.compile(r"[<>∈∉,;]|\\(?:le|ge|ne|in|notin|pm|mp|cup|ldots)(?![A-Za-z])")
_CHAIN = re.compile(r"=|\\approx")
_INDEX = r"(?:'|’|_\w|_\{[^{}]{1,20}\}|\^\{-1\})*"
_VARIABLE = rf"(?:[A-Za-z]|\\(?!pi)[a-z]{{2,7}}){_INDEX}"
_ARGUMENTS = r"(?: ?\((?:[^()=<>]|\([^()=<>]{1,20}\)){1,30}\))?"
_POINTS = (
    r"(?:(?:\\(?:triangle|overline|overrightarrow|widehat) ?\{?|△ ?|\|)?[A-Z]{1,5}\}?\|?"
    r"|(?:m ?)?(?:\\angle|∠) ?(?:[A-Z]{1,5}|\d{1,2}))"
)
_VECTOR = r"\\(?:vec|overrightarrow|mathbf) ?\{? ?[A-Za-z]{1,2} ?\}?"
_RATIO_OF_SIDES = r"\\?(?:sin|cos|tan|cot) ?(?:\\angle ?|∠)?(?:[A-Za-z]|\\?(?:theta|alpha|beta|gamma|varphi|phi)|α|β|θ)"
_TERM = r"(?:\d{0,4} ?[A-Za-z](?:_\w)?|[A-Z]{2})"
_SUM_OF_NAMES = re.compile(rf"{_TERM}(?: ?[+-] ?{_TERM}){{1,5}}")
_WORDS = r"(?:[A-Za-z]{4,15}|(?:the|its|sum|max|min|gcd|lcm|ans))(?: [A-Za-z]{1,15}){0,5}"
_NAME = re.compile(
    rf"(?:{_VARIABLE}|{_WORDS}){_ARGUMENTS}|{_POINTS}{_INDEX}|\\?(?:max|min|gcd|lcm) ?\([^()=]{{1,30}}\)"
    rf"|\|{_VECTOR}\||{_VECTOR}(?: ?\\cdot ?{_VECTOR})?"
)
_NAMES = re.compile(rf"\( ?{_VARIABLE}(?: ?, ?{_VARIABLE}){{1,9}} ?\)")
_FUNCTION = re.compile(r"\\?(?:frac|sqrt|sin|cos|tan|cot|log|ln|exp|sum|int|lim)(?![a-z])")
_SUM = re.compile(
    r"(?:[\d .()+\-*/×·÷^{}!%$]|\\(?:times|cdot|div|frac|sqrt|binom|log|ln)(?![A-Za-z])"
    r"|(?<=[\d)]) ?[xX] ?(?=[\d($])|(?<=log)_\d| _){1,200}"
)
_TOLD = re.compile(r"^(?:[A-Za-z][A-Za-z']{1,15} ){1,8}(?=\$?\d)")


def value_of_chain(text: str) -> Quantity | None:
    r"""The plain number at the end of "x = 5", "47 + 38 = 85" or "x = 1/3 \approx 0.33"; None where that is no answer.

    What stands before must be a name or a sum of numbers: "2x = 5" and "x^2 + y^2 = 25" say nothing of 5 or 25.

    >>> [value_of_chain(text) is not None for text in ("x = 5", "47 + 38 = 85", "2x = 5", "x > 5", "a = 3, b = 5")]
    [True, True, False, False, False]
    """
    if _RELATION.search(_IN_BRACKETS.sub("()", text)):
        return None
    exact = text.partition(r"\approx")[0] if "=" in text else text
    parts = [part.strip() for part in _CHAIN.split(exact)]
    if len(parts) < 2 or not all(parts):
        return None
    if len(parts) == 2 and re.fullmatch(r"[A-Za-z]", parts[1]):  # 5 = x
        parts.reverse()
    named = is_name(parts[0]) or re.fullmatch(_RATIO_OF_SIDES, parts[0]) or _is_sum_of_names(parts[0])
    if not named and not all(_SUM.fullmatch(_TOLD.sub("", part)) for part in parts[:-1]):
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


def _is_sum_of_names(text: str) -> bool:
    """m + n, 100a + b, AB + BC: what contests ask for; not x + x, which is an equation to be solved."""
    names = re.findall(r"[A-Z]{2}|[A-Za-z]", re.sub(r"_\w", "", text))
    return _SUM_OF_NAMES.fullmatch(text) is not None and len(set(names)) > 1
