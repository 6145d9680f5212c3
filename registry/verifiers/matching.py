"""Cheap comparisons of a short answer with its reference: as text, as a number, as one of several options.

Nothing here evaluates an expression, so nothing here can hang.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

_SPELLINGS = str.maketrans(
    {chr(0xFF01 + i): chr(0x21 + i) for i in range(94)}  # full-width letters, digits and signs
    | dict(zip("‐‑‒–—−‘’“”。", "------''\"\".", strict=True))
    | {digit: f"^{i}" for i, digit in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
)
_WRAPPERS = (
    re.compile(r"\$+([^$]*)\$+"),
    re.compile(r"\\\((.*)\\\)|\\\[(.*)\\\]", re.DOTALL),
    re.compile(r"\\(?:boxed|text|textbf|mathrm|mathbf)\s*\{(.*)\}", re.DOTALL),
)
_MOST_WRAPPERS = 4  # as in **$\boxed{\text{B}}$**

_LITERAL = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3}){1,9}(?!\d)|\d{1,30})(?:\.\d{0,30})?|[+-]?\.\d{1,30}")
_FRACTION = re.compile(r"([+-]?)(?:(\d{1,30})\s*/\s*(\d{1,30})|\\[dt]?frac(?:\{(\d{1,30})\}\{(\d{1,30})\}|(\d)(\d)))")
_ORNAMENTS = re.compile(
    r"\\(?:boxed|text|mathrm|left|right)(?![A-Za-z])|\^?\\circ|\\degree|\\[,;!\s]|\\(?=[%$])|[°${}]"
)
_OPERATORS = re.compile(r"[\\^*/+×÷·√!<>≤≥()\[\]|_-]")

_LETTER = re.compile(r"\(?([A-Za-z])[).:]{0,2}")
_LETTER_AND_TEXT = re.compile(r"\(?([A-Za-z])[).:]{1,2}\s*(\S.*)", re.DOTALL)


@dataclass(frozen=True)
class Number:
    """A number as written.

    Attributes:
        value: without its percent sign.
        percent: it had one.
        fraction: it was written as a quotient.
    """

    value: Fraction
    percent: bool = False
    fraction: bool = False


def tidy(text: str) -> str:
    r"""The text without marks that carry no meaning: outer LaTeX and bold marks, a last full stop, spare white space.

    >>> tidy(" **$\\boxed{42}$**. ")
    '42'
    """
    text = " ".join(unicodedata.normalize("NFC", text).translate(_SPELLINGS).split())
    for _ in range(_MOST_WRAPPERS):
        inner = text.rstrip(".").strip(" *`'\"") or text
        for wrapper in _WRAPPERS:
            if match := wrapper.fullmatch(inner):
                inner = next(group for group in match.groups() if group is not None).strip()
        if inner == text or not inner:
            break
        text = inner
    return text


def same_text(a: str, b: str) -> bool:
    """Whether two texts agree but for case, white space and the marks that `tidy` removes.

    >>> same_text("New York.", "new  york")
    True
    """
    key = _key(a)
    return bool(key) and key == _key(b)


def same_number(answer: Number, reference: Number) -> bool:
    """Whether an answer gives the reference's value.

    50 and 0.5 both agree with 50 %. A quotient agrees with a whole number only where the reference is one, too: copying
    "84 / 2" out of the question is no answer to it.
    """
    if answer.fraction and not reference.fraction and reference.value.denominator == 1:
        return False
    if answer.percent == reference.percent:
        return answer.value == reference.value
    percent, plain = (answer, reference) if answer.percent else (reference, answer)
    return plain.value in (percent.value, percent.value / 100)


def read_reference_number(text: str) -> Number | None:
    r"""The number that a reference is; None where it is anything else.

    >>> read_reference_number("1,250.5").value
    Fraction(2501, 2)
    >>> read_reference_number("3 cm") is None
    True
    """
    return _read_number(text, words=False)


def read_answer_number(text: str) -> Number | None:
    r"""The one number that an answer holds, words and units beside it aside; None where there is none or a choice.

    What stands before the last `=` is working and does not count. Sums, products, powers and roots are not numbers:
    they are left to be worked out.

    >>> read_answer_number("x = \\boxed{42} cm").value
    Fraction(42, 1)
    >>> read_answer_number("47 + 38") is None and read_answer_number("41 or 42") is None
    True
    """
    return _read_number(text, words=True)


def option_index(text: str, choices: Sequence[str]) -> int | None:
    """The option meant by its text, its letter, or both; None where it is none of them, or letter and text disagree.

    >>> [option_index(text, ("cat", "dog")) for text in ("Dog", "b", "(B)", "B. dog", "B) cat", "C")]
    [1, 1, 1, 1, None, None]
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
    return index if index < len(choices) and rest in (None, index) else None


def leading_letter(text: str) -> str | None:
    """The letter of an option, in upper case, where the options themselves are unknown.

    >>> leading_letter("(b)"), leading_letter("B. a dog"), leading_letter("a dog")
    ('B', 'B', None)
    """
    text = tidy(text)
    match = _LETTER.fullmatch(text) or _LETTER_AND_TEXT.fullmatch(text)
    return match[1].upper() if match else None


def _key(text: str) -> str:
    return "".join(tidy(text).casefold().split())


def _index_of(text: str, choices: Sequence[str]) -> int | None:
    return next((i for i, choice in enumerate(choices) if same_text(text, choice)), None)


def _letter_index(letter: str) -> int:
    return ord(letter.upper()) - ord("A")


def _read_number(text: str, words: bool) -> Number | None:
    text = tidy(text).rpartition("=")[2].strip()
    if match := _FRACTION.fullmatch(tidy(text)):
        top, bottom = (int(digits) for digits in match.groups()[1:] if digits)
        return Number(Fraction(-top if match[1] == "-" else top, bottom), fraction=True) if bottom else None
    text = _ORNAMENTS.sub(" ", text)
    literals = list(_LITERAL.finditer(text))
    if len(literals) != 1:
        return None
    literal = literals[0]
    beside = text[: literal.start()] + " " + text[literal.end() :]
    if _OPERATORS.search(beside) or re.search(r"\d", beside):
        return None
    unspoken = beside.translate(str.maketrans("", "", "%€£¥ .,;:"))
    if unspoken and not words:
        return None
    return Number(Fraction(literal[0].replace(",", "").rstrip(".")), percent="%" in beside)
