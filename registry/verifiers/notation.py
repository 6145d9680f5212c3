r"""What looks like a formula and is none, and letters that mean one thing together: dates and codes, f', \angle ABC.

Worked out, "2023-05-14" would be 2004, "N2O" as good as "NO2", "0x1F4" zero, and \angle ABC as good as \angle ACB.
"""

from __future__ import annotations

import re

from registry.verifiers.spelling import text_key

_ROW = re.compile(  # a date, a score, a range, a size, factors
    r"(?:[\d.,:+/×·* -]|\\(?:times|cdot)(?![A-Za-z])|(?<=\d)[xX](?= ?\d)|(?<=\d )[xX](?= ?\d))+"
)
_NUMBERS_APART = re.compile(r"(?<![\d\\_^.,])\d{1,40} +(?!\d{3}(?!\d))\d|(?<=\d) +\d{3} +(?!\d{3}(?!\d))\d")
_SUM = re.compile(r"\d ?\+ ?[\d.]")  # of no date, score or range
_SIGNED = re.compile(r"[+-]? ?[\d.,]+")
_TIMES = re.compile(r"\\(?:times|cdot)(?![A-Za-z])|[×·*xX]")
_X_BETWEEN_NUMBERS = re.compile(r"(?<=\d) ?[xX] ?(?=\d)")
_LITERAL = re.compile(r"(?<![\d.])0[xXbBoO][\dA-Fa-f]")  # hexadecimal, binary, octal
_COMMAND = re.compile(r"\\[A-Za-z]+")
_NAMED_FUNCTION = re.compile(r"(?<![A-Za-z])(?:sqrt|a?(?:rc)?(?:sin|cos|tan)|log|ln|exp|pi|cbrt|cot|sec|csc)(?=\d)")
_EXPONENT = re.compile(r"(?<=\d)[eE](?=[+-]?\d)")
_GLUED = re.compile(r"[A-Za-z]\d")  # NO2, A1B2, e4
_PRIME = re.compile(r"'|\\prime(?![A-Za-z])")
_PRIMED = re.compile(r"\\[A-Za-z]+|([A-Za-z])('{1,3})")
_ANGLE = re.compile(r"\\angle ?\{? ?([A-Z])([A-Z])([A-Z])(?![A-Za-z]) ?\}?")
_NO_BRACES = str.maketrans("", "", "{}")


def is_row(text: str) -> bool:
    r"""Whether a text is nothing but numbers and signs between them, which ask to be met as they stand, not worked out.

    >>> [is_row(text) for text in ("2023-05-14", "3 1 2", r"3 \times 2", "1920x1080", "-5", "2^3 * 3", "1/2 + 1/3")]
    [True, True, True, True, False, False, False]
    """
    return _ROW.fullmatch(text) is not None and not _SIGNED.fullmatch(text) and not _SUM.search(text)


def is_sequence(text: str) -> bool:
    """Whether numbers stand beside each other with nothing but white space between, which is no product.

    >>> is_sequence("[1 2]"), is_sequence("12 345 x"), is_sequence("2 x")
    (True, False, False)
    """
    return _NUMBERS_APART.search(text) is not None


def is_code(text: str) -> bool:
    r"""Whether letters with digits glued behind them make a text a code or a formula of chemistry, not of mathematics.

    >>> [is_code(text) for text in ("NO2", "0x1F4", "A1B2", "2x", "x_1^2", r"\frac12", "log2 5", "2x3", "1.5e3")]
    [True, True, True, False, False, False, False, False, False]
    """
    if _LITERAL.search(text):
        return True
    bare = _NAMED_FUNCTION.sub(" ", _COMMAND.sub(" ", _X_BETWEEN_NUMBERS.sub("*", text)))
    return _GLUED.search(_EXPONENT.sub("*", bare)) is not None


def row_key(text: str) -> str:
    """What two texts have in common that are the same but for white space around signs, braces and the sign of a product.

    >>> row_key(r"3 \\times 2") == row_key("3x2"), row_key("3 1 2") == row_key("31 2")
    (True, False)
    """
    return text_key(_TIMES.sub("*", text) if _ROW.fullmatch(text) else text).translate(_NO_BRACES)


def primes_agree(answer: str, reference: str) -> bool:
    """Whether two formulas have equally many primes; the parser drops those that `with_names` leaves."""
    return len(_PRIME.findall(answer)) == len(_PRIME.findall(reference))


def with_names(text: str) -> str:
    r"""The formula with each primed letter, and each angle of three letters, as one name that the parser keeps.

    >>> with_names(r"f' + \angle CBA"), with_names(r"\angle ABC")
    ('f_{q} + \\theta_{ABC}', '\\theta_{ABC}')
    """
    text = _PRIMED.sub(lambda match: f"{match[1]}_{{{'q' * len(match[2])}}}" if match[1] else match[0], text)
    return _ANGLE.sub(lambda match: rf"\theta_{{{min(match[1], match[3])}{match[2]}{max(match[1], match[3])}}}", text)
