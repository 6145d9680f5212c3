"""Whether two expressions are equal, by math-verify; may run without end and must be killed from outside.

math-verify 0.9 knows equations, sets, intervals, inequalities and matrices. It is fed one formula at a time, in delimiters and
in one spelling, and what it is lax about is checked again here:

* it compares numbers to 1e-15 absolutely: all numbers closer than that are equal to it. Here values are compared
  relatively, at random points where there are variables;
* its parser drops what it does not know, folds capitals, reads 12:30 as a quotient, a date as a difference and a code as
  a product (`notation`).
"""

from __future__ import annotations

import logging
import random
import re
from typing import Any

from registry.verifiers.cost import is_costly
from registry.verifiers.notation import is_code, is_row, is_sequence, primes_agree, row_key, with_names
from registry.verifiers.numerals import SURE_DIGITS
from registry.verifiers.spelling import text_key

_COMMAND = re.compile(r"\\(?:begin|end) ?\{[a-z]+\*?\}|\\[A-Za-z]+")
_FUNCTION = re.compile(
    r"(?<![A-Za-z\\])(sqrt|arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|log|ln|exp|pi|infty)(?![a-z]{2})"
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_UPPER_WORD = re.compile(r"[A-Z]{2,5}(?![a-z])")
_MATHEMATICAL = re.compile(r"[\d\\^=+*/<>√π∞]")
_ROOT = re.compile(r"(?:√|(?<![A-Za-z\\])sqrt) ?(?:\(((?:[^()]|\([^()]*\))*)\)|\{([^{}]*)\}|(\d+|[A-Za-z]))")
_LOOSE_EXPONENT = re.compile(r"\^ ?-(\d{1,4}|[A-Za-z])(?![A-Za-z\d])")
_LOOSE_ROOT = re.compile(r"\\sqrt ?(\d)")
_SPELLINGS = (
    ("**", "^"), ("×", r"\times "), ("·", r"\cdot "), ("÷", r"\div "), ("≤", r"\le "), ("≥", r"\ge "), ("∞", r"\infty "),
    ("π", r"\pi "), ("θ", r"\theta "), ("α", r"\alpha "), ("β", r"\beta "), ("∪", r"\cup "), ("∩", r"\cap "),
    ("∅", r"\emptyset "), ("±", r"\pm "), ("°", r"^{\circ}"), ("%", r"\%"), ("$", r""),
)  # fmt: skip
_BASE = re.compile(r"(?<=\d) ?_ ?(?:\{ ?\d{1,2} ?\}|\d{1,2})$")  # its parser drops the base of a number
_NO_BRACES = str.maketrans("", "", "{}")
_LETTERS_ALONE = re.compile(r"[abxyz]{2}|[A-Za-z](?: ?- ?[A-Za-z])+")
POINTS = 4
DIGITS = 40
CLOSE = 1e-30  # relative
CLOSE_DECIMALS = 1e-12  # where a decimal was read as a float


def is_expression(text: str) -> bool:
    r"""Whether a text can only be meant as mathematics: it has digits or operators, and no words.

    >>> [is_expression(text) for text in ("2\\sqrt{3}", "x + 1", "12 May 2020", "cat")]
    [True, True, False, False]
    """
    if _LETTERS_ALONE.fullmatch(text):
        return True
    return _MATHEMATICAL.search(text) is not None and not _has_words(text)


def same_expression(answer: str, reference: str) -> bool:
    """Whether math-verify finds two formulas equal, and no check of what it is lax about objects; give both `clean`."""
    bases = [_BASE.search(text) for text in (answer, reference)]
    if all(bases):
        return text_key(answer).translate(_NO_BRACES) == text_key(reference).translate(_NO_BRACES)
    answer, reference = (_BASE.sub("", text) if any(bases) else text for text in (answer, reference))
    if ":" in answer + reference or r"\ldots" in answer + reference or _differ_in_case(answer, reference):
        return text_key(answer) == text_key(reference)
    if is_row(reference) or any(is_code(text) or is_sequence(text) for text in (answer, reference)):
        return row_key(answer) == row_key(reference)
    if any(_has_words(text) or is_costly(text) for text in (answer, reference)) or not primes_agree(answer, reference):
        return False
    from math_verify import verify  # here, because it imports sympy

    found, expected = _parse(answer), _parse(reference)
    if found is None or expected is None or _is_undefined(found) or _is_undefined(expected):
        return False
    # Its own time-outs are switched off: they use SIGALRM, which works in the main thread alone and not in C code.
    if not verify(expected, found, allow_set_relation_comp=True, timeout_seconds=0):
        return False
    return _agree_closely(found, expected) or any(
        _rounds_to(value, text) for value, text in ((found, reference), (expected, answer))
    )


def _has_words(text: str) -> bool:
    bare = _UPPER_WORD.sub(" ", _FUNCTION.sub(" ", _COMMAND.sub(" ", text)))
    return re.search(r"[^\W\d_]{4,}", bare) is not None or any(word in _SHORT_WORDS for word in _WORD.findall(bare))


_SHORT_WORDS = {
    "and",
    "or",
    "not",
    "the",
    "of",
    "to",
    "is",
    "are",
    "no",
    "yes",
    "all",
    "any",
    "for",
    "if",
    "it",
    "than",
    "May",
}


def _differ_in_case(answer: str, reference: str) -> bool:
    letters = [set(re.findall(r"[A-Za-z]", _COMMAND.sub(" ", text))) for text in (answer, reference)]
    folded = [{letter.lower() for letter in found} for found in letters]
    return folded[0] == folded[1] and letters[0] != letters[1]


def _parse(text: str) -> Any:
    """What math-verify reads a formula as; None where it cannot."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its time-outs are off
    # Units and boxes were taken off before; what it would drop as a unit ("point", "sue") may be a product of variables.
    spelled = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
    )
    reading = [LatexExtractionConfig(boxed_match_priority=-1, normalization_config=spelled)]
    parsed = parse(f"$${_as_latex(text)}$$", reading, fallback_mode="no_fallback", parsing_timeout=0)
    return parsed[0] if parsed else None


def _as_latex(text: str) -> str:
    text = with_names(text)
    for _ in range(3):  # roots in roots
        text = _ROOT.sub(lambda match: rf"\sqrt{{{next(filter(None, match.groups()), '')}}}", text)
    text = _LOOSE_EXPONENT.sub(r"^{-\1}", text)
    for spelling, latex in _SPELLINGS:
        text = text.replace(spelling, latex)
    text = re.sub(r"(?<=\d)i(?![A-Za-z])", " i", text)  # or it would be read as a variable
    text = _LOOSE_ROOT.sub(r"\\sqrt{\1}", text)
    return _FUNCTION.sub(lambda match: chr(92) + match[1] + " ", text)


def _is_undefined(value: Any) -> bool:
    import sympy

    return isinstance(value, sympy.Basic) and value.has(sympy.nan, sympy.zoo)


def _agree_closely(found: Any, expected: Any) -> bool:
    """Whether two values that math-verify calls equal are so to many digits."""
    import sympy

    found, expected = (value.doit() if isinstance(value, sympy.MatrixExpr) else value for value in (found, expected))
    if isinstance(found, sympy.MatrixBase) and isinstance(expected, sympy.MatrixBase):
        return found.shape == expected.shape and all(map(_agree_closely, found, expected))
    if isinstance(found, sympy.Equality) and isinstance(expected, sympy.Equality):
        return _proportional(found.lhs - found.rhs, expected.lhs - expected.rhs)
    if isinstance(found, sympy.Expr) and isinstance(expected, sympy.Expr):
        values = _values(found, expected)
        if values is None or not values:
            return found.doit() == expected.doit() or bool((found - expected).free_symbols)
        close = CLOSE_DECIMALS if found.has(sympy.Float) or expected.has(sympy.Float) else CLOSE
        return all(_close(a, b, close) for a, b in values)
    return True


def _rounds_to(value: Any, decimal: str) -> bool:
    """Whether a text is a constant's decimal of `SURE_DIGITS` or more, rounded rightly: 1.414214 for the root of 2."""
    import sympy

    digits = decimal.lstrip("-").replace(".", "", 1)
    if not digits.isdigit() or "." not in decimal or len(digits.lstrip("0")) < SURE_DIGITS:
        return False
    if not isinstance(value, sympy.Expr) or value.free_symbols or value.has(sympy.Float):
        return False
    places = len(decimal.partition(".")[2])
    return bool(abs(sympy.N(value, DIGITS) - sympy.Rational(decimal)) * 2 * 10**places <= 1)


def _proportional(found: Any, expected: Any) -> bool:
    """Whether an equation is another times a number; equations in one variable may have the same solutions otherwise."""
    values = _values(found, expected)
    if not values or len(found.free_symbols | expected.free_symbols) < 2:
        return True
    first_a, first_b = values[0]
    return all(_close(a * first_b, b * first_a, CLOSE_DECIMALS) for a, b in values)


def _values(found: Any, expected: Any) -> list[tuple[complex, complex]] | None:
    """Both values at some random points; None where they cannot be computed."""
    import sympy

    symbols = sorted(found.free_symbols | expected.free_symbols, key=str)
    chance = random.Random(0)
    values = []
    for _ in range(POINTS if symbols else 1):
        point = {symbol: sympy.Rational(chance.randint(100, 3000), 997) for symbol in symbols}
        try:
            pair = tuple(sympy.N(side.subs(point).doit(), DIGITS) for side in (found, expected))
        except Exception:
            return None
        if all(value.is_number and value.is_finite for value in pair):
            values.append(pair)
    return values


def _close(a: Any, b: Any, tolerance: float) -> bool:
    size = max(abs(a), abs(b))
    return bool(size == 0 or abs(a - b) <= tolerance * size)
