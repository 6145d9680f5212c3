"""One shape for two answers that are written in two: ratios and quotients, columns of numbers and points."""

from __future__ import annotations

import re

from registry.verifiers.symbolic import is_expression

_RATIO = re.compile(r"([^:]{1,40}) ?: ?([^:]{1,40})")
_CLOCK = re.compile(r"\d{1,2} ?: ?\d\d")
_COLUMN = re.compile(r"\\begin ?\{pmatrix\}([^&]*)\\end ?\{pmatrix\}|\\binom ?\{([^{}]*)\} ?\{([^{}]*)\}")
_CHEVRONS = re.compile(r"\\langle(.*)\\rangle", re.DOTALL)


def as_quotients(answer: str, reference: str) -> tuple[str, str]:
    r"""A ratio as a quotient, where the other is one, or a ratio: 2/3 for 2:3, not 0.67; a time of day is no ratio.

    >>> as_quotients("2/3", "2:3"), as_quotients("0.5", "1:2"), as_quotients("2/5", "12:30")
    (('2/3', '\\frac{2}{3}'), ('0.5', '1:2'), ('2/5', '12:30'))
    """
    ratios = [None if _CLOCK.fullmatch(text) else _RATIO.fullmatch(text) for text in (answer, reference)]
    quotients = ["/" in text or r"\frac" in text for text in (answer, reference)]
    if not ratios[1] or not all(ratio or quotient for ratio, quotient in zip(ratios, quotients, strict=True)):
        return answer, reference
    spelled = [
        rf"\frac{{{match[1].strip()}}}{{{match[2].strip()}}}"
        if match and is_expression(f"{match[1]}+{match[2]}")
        else text
        for match, text in zip(ratios, (answer, reference), strict=True)
    ]
    return spelled[0], spelled[1]


def as_points(answer: str, reference: str) -> tuple[str, str]:
    r"""Columns and vectors in chevrons as points, where only one of the two is written so.

    >>> as_points("(1, 2)", r"\begin{pmatrix}1\\2\end{pmatrix}"), as_points(r"\langle 1, 2\rangle", "(1, 2)")
    (('(1, 2)', '(1, 2)'), ('(1, 2)', '(1, 2)'))
    """
    answer, reference = (_CHEVRONS.sub(lambda match: f"({match[1].strip()})", text) for text in (answer, reference))
    columns = [_COLUMN.fullmatch(text) for text in (answer, reference)]
    matrices = all(columns) and r"\binom" not in answer + reference
    if matrices or not all(
        column or text[:1] == "(" for column, text in zip(columns, (answer, reference), strict=True)
    ):
        return answer, reference
    return _point(answer, columns[0]), _point(reference, columns[1])


def _point(text: str, column: re.Match[str] | None) -> str:
    if column is None:
        return text
    parts = column.groups()[1:] if column[1] is None else column[1].split("\\\\")
    return f"({', '.join(part.strip() for part in parts)})"
