r"""What an answer is made of: the items of a list, the parts of a pair or interval, both sides of an equation.

Two answers of the same make are compared part by part, by whatever compares the parts; only parts are left to math-verify.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

Same = Callable[[str, str], bool]
"""Whether an answer's part agrees with a reference's part."""

MOST_ITEMS = 64

_SEPARATOR = re.compile(r"[,;\n](?: ?(?:and|or)(?![A-Za-z]))?|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|(?<=\d)or(?=[\d-])")
_EQUALS = re.compile(r"(?<![<>!:\\])=")
_THOUSANDS = re.compile(r",\d{3}(?!\d)")
_OPEN, _CLOSE = "([{", ")]}"
_CASES = re.compile(r"\\begin ?\{cases\}(.*?)\\end ?\{cases\}", re.DOTALL)
_MATRIX = re.compile(r"\\(begin|end) ?\{(?:[bB]matrix|smallmatrix)\}")
_ARRAY = re.compile(r"[\[(] ?\\begin ?\{array\} ?\{[^{}]*\}(.*?)\\end ?\{array\} ?[\])]", re.DOTALL)


def plain_environments(text: str) -> str:
    r"""Cases as a list of their lines, every kind of matrix in brackets as a pmatrix.

    >>> plain_environments(r"\begin{cases}x=1\\y=2\end{cases}"), plain_environments(r"\begin{bmatrix}1\end{bmatrix}")
    ('x=1, y=2', '\\begin{pmatrix}1\\end{pmatrix}')
    """
    text = _CASES.sub(lambda match: ", ".join(line.strip() for line in match[1].split(r"\\") if line.strip()), text)
    text = _MATRIX.sub(r"\\\1{pmatrix}", text)
    return _ARRAY.sub(lambda match: r"\begin{pmatrix}" + match[1].strip() + r"\end{pmatrix}", text)


def items(text: str) -> list[str]:
    r"""The items of a list, by commas, semicolons, "and" and "or" outside of brackets; a thousands separator is none.

    >>> items("1,331 and 1,728"), items("(1, 2), (3, 4)"), items("x=1, y=2")
    (['1,331', '1,728'], ['(1, 2)', '(3, 4)'], ['x=1', 'y=2'])
    """
    return [part.strip() for part in _split_outside(text, _SEPARATOR) if part.strip()]


def parts_of(text: str) -> tuple[str, list[str], str] | None:
    r"""Opening bracket, parts and closing bracket of a pair, interval, point or set; None where it is none.

    >>> parts_of("(1, 2]"), parts_of(r"\{1, 2\}"), parts_of("(1)(2)"), parts_of("(x+1)")
    (('(', ['1', '2'], ']'), ('{', ['1', '2'], '}'), None, None)
    """
    text = text.replace(r"\{", "{").replace(r"\}", "}")
    if len(text) < 2 or text[0] not in _OPEN or text[-1] not in _CLOSE:
        return None
    depth = 0
    for place, char in enumerate(text):
        depth += (char in _OPEN) - (char in _CLOSE)
        if depth == 0 and place < len(text) - 1:
            return None
    inside = items(text[1:-1])
    return (text[0], inside, text[-1]) if depth == 0 and (len(inside) > 1 or text[0] == "{") else None


def sides(text: str) -> tuple[str, str] | None:
    """Both sides of a lone equation, None where there is none; of a chain of them the first and the last."""
    parts = _split_outside(text, _EQUALS)
    parts[-1] = parts[-1].partition(r"\approx")[0] if len(parts) > 1 else parts[-1]
    return (parts[0].strip(), parts[-1].strip()) if len(parts) > 1 and parts[0].strip() and parts[-1].strip() else None


def same_in_order(answer: Sequence[str], reference: Sequence[str], same: Same) -> bool:
    return len(answer) == len(reference) and all(map(same, answer, reference))


def same_in_any_order(answer: Sequence[str], reference: Sequence[str], same: Same) -> bool:
    """Whether two lists have the same items; a repeated one counts once."""
    found, wanted = ({re.sub(r"\s", "", item): item for item in listed} for listed in (answer, reference))
    if len(found) != len(wanted) or len(found) > MOST_ITEMS:
        return False
    alike = found.keys() & wanted.keys()  # first, since the others are compared each with each
    found, wanted = ({key: item for key, item in listed.items() if key not in alike} for listed in (found, wanted))
    for item in found.values():
        match = next((key for key, other in wanted.items() if same(item, other)), None)
        if match is None:
            return False
        del wanted[match]
    return True


def _split_outside(text: str, separator: re.Pattern[str]) -> list[str]:
    """The text parted where a separator stands outside of brackets."""
    parts, depth, start, place = [], 0, 0, 0
    while place < len(text):
        char = text[place]
        depth += (char in _OPEN) - (char in _CLOSE)
        if depth == 0 and (match := separator.match(text, place)) and not _is_thousands(text, place):
            parts.append(text[start:place])
            start = place = match.end()
        else:
            place += 1
    return [*parts, text[start:]]


def _is_thousands(text: str, comma: int) -> bool:
    """Whether a comma stands inside a number: up to three digits before it, and three behind it."""
    if not _THOUSANDS.match(text, comma):
        return False
    before = re.search(r"(?:^|[^\d,.])(\d{1,3})(?:,\d{3}){0,30}$", text[max(0, comma - 130) : comma])
    return before is not None
