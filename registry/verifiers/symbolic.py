"""Whether two expressions are equal, by math-verify; may run without end and must be killed from outside."""

from __future__ import annotations

import logging
import re

_COMMAND = re.compile(r"\\(?:text|mathrm|operatorname)\s*\{[^{}]*\}|\\[A-Za-z]+")
_FUNCTION = re.compile(r"(?<![A-Za-z\\])(sqrt|sin|cos|tan|cot|sec|csc|log|ln|exp|pi)(?![A-Za-z])")
_WORD = re.compile(r"[^\W\d_]{2,}")
_MATHEMATICAL = re.compile(r"[\d\\^=+*/<>√π∞]")
_DELIMITER = re.compile(r"\$|\\[(\[]")
_ROOT = re.compile(r"(?:√|(?<![A-Za-z\\])sqrt)\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+|[A-Za-z]))")
_SPELLINGS = (("**", "^"), ("×", r"\times "), ("·", r"\cdot "), ("÷", r"\div "), ("≤", r"\le "), ("≥", r"\ge "))


def is_expression(text: str) -> bool:
    r"""Whether a text can only be meant as mathematics: it has digits or operators, and no words.

    >>> [is_expression(text) for text in ("2\\sqrt{3}", "x + 1", "12 May 2020", "cat")]
    [True, True, False, False]
    """
    return _MATHEMATICAL.search(text) is not None and not _has_words(text)


def same_expression(answer: str, reference: str) -> bool:
    """Whether math-verify finds the last expression of an answer equal to the reference; give both `tidy`.

    Its own time-outs are switched off: they use SIGALRM, which works in the main thread alone and not in C code.
    """
    from math_verify import parse, verify  # here, because it imports sympy

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its time-outs are off
    expected = parse(_as_latex(reference), fallback_mode="no_fallback", parsing_timeout=0)
    found = parse(_as_latex(answer), fallback_mode="no_fallback", parsing_timeout=0)
    return bool(expected) and bool(found) and bool(verify(expected, found, timeout_seconds=0))


def _has_words(text: str) -> bool:
    return _WORD.search(_FUNCTION.sub(" ", _COMMAND.sub(" ", text))) is not None


def _as_latex(text: str) -> str:
    """The text in the delimiters without which math-verify reads `2\\sqrt{3}` as 2."""
    text = _ROOT.sub(lambda match: rf"\sqrt{{{next(filter(None, match.groups()), '')}}}", text)
    for spelling, latex in _SPELLINGS:
        text = text.replace(spelling, latex)
    if _DELIMITER.search(text) or _has_words(text):
        return text
    return f"${_FUNCTION.sub(lambda match: chr(92) + match[1], text)}$"
