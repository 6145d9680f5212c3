r"""Where the answer stands in a completion: names of places, what each finds, and how an answer is written there.

| place | the answer is | written |
|---|---|---|
| `tags` | inside the last complete `<answer>…</answer>` | `<answer>42</answer>` |
| `boxed` | inside the last complete `\boxed{…}` or `\fbox{…}`, or the word behind `\boxed ` | `\boxed{42}` |
| `after:####` | the rest of the line behind the last `####` (any marker), or the next line where it ends there | `#### 42` |
| `last` | the last number or formula of the text | `42` |
| `whole` | all of it | `42` |

Every search takes time linear in the text, whatever a model babbles.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

AnswerPlaces = str | Sequence[str]
"""A place, or several that are tried in order."""

AFTER = "after:"
PLACES = ("tags", "boxed", "last", "whole")
LENIENT = ("tags", "boxed", "after:####", "after:Answer:", "last", "whole")

ANSWER, END_ANSWER = "<answer>", "</answer>"
TAIL_CHARS = 2000  # of a text, in which `last` looks

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\[^\w]|[{}]", re.DOTALL)
_LOOSE_BOX = re.compile(r"\\(?:boxed|fbox) {1,9}([^\s{}$]{1,200})")
_JOINED = re.compile(r"[\s$]{0,9}(?:,|;|and|or|\\text\{ ?(?:and|or) ?\})[\s$]{0,9}(?:(?:and|or)[\s$]{1,9})?")
_FORMULA = re.compile(r"\$([^$\n]{1,200})\$|\\\((.{1,200}?)\\\)|\\\[(.{1,200}?)\\\]", re.DOTALL)
_NUMBER = re.compile(
    r"(?<![\w.])[+-]?(?:\d{1,3}(?:,\d{3}){1,9}(?!\d)|\d{1,40})(?:\.\d{1,40})?(?:[eE][+-]?\d{1,4}(?!\w))?"
    r"(?: ?/ ?\d{1,40})?(?: ?\\?%)?|[+-]?\\[dtc]?frac ?\{[^{}]{1,99}\} ?\{[^{}]{1,99}\}|(?<![\w.])[+-]?\.\d{1,40}"
)
_PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{3,} |\. ")


def place_names(places: AnswerPlaces) -> tuple[str, ...]:
    """The places, in the order in which they are tried."""
    return (places,) if isinstance(places, str) else tuple(places)


def check_places(places: AnswerPlaces, binding: str) -> None:
    """Raises ValueError, naming the binding, where a place has an unknown name or there is none."""
    names = place_names(places)
    wrong = [name for name in names if name not in PLACES and not _marker(name)]
    if wrong or not names:
        raise ValueError(
            f"{binding} must be 'tags', 'boxed', 'last', 'whole' or 'after:' with a marker, such as 'after:####' or"
            f" 'after:Answer:', or a list of them; it is {places!r}"
        )


def find_answer(text: str, places: AnswerPlaces) -> str | None:
    r"""The answer at the first of these places that has one; None where none has.

    >>> find_answer("so <answer> 4 </answer>", "tags"), find_answer(r"so \boxed{\frac{1}{2}}.", "boxed")
    (' 4 ', '\\frac{1}{2}')
    >>> find_answer("7 * 6 = 42\n#### 42", "after:####"), find_answer("It is $2x$, about 42 in all.", "last")
    ('42', '42')
    >>> find_answer("Paris", ("boxed", "whole")), find_answer("Paris", "boxed")
    ('Paris', None)
    """
    for name in place_names(places):
        found = _behind(text, _marker(name)) if name.startswith(AFTER) else _FINDERS[name](text)
        if found is not None:
            return found
    return None


def write_answer(answer: str, places: AnswerPlaces) -> str:
    r"""A completion with nothing but this answer, in the first of these places.

    >>> [write_answer("42", places) for places in ("tags", "boxed", ("after:####", "last"))]
    ['<answer>42</answer>', '\\boxed{42}', '#### 42']
    """
    name = place_names(places)[0]
    if name == "tags":
        return f"{ANSWER}{answer}{END_ANSWER}"
    if name == "boxed":
        return rf"\boxed{{{answer}}}"
    return f"{_marker(name)} {answer}" if name.startswith(AFTER) else answer


def is_well_placed(text: str, places: AnswerPlaces, strict: bool = True) -> bool:
    r"""Whether a text answers in the format of one of these places.

    tags     the text, outer white space aside, is `<answer>…</answer>`
    boxed    there is a complete box; working may stand around it
    after:…  there is an answer behind the marker, and nothing below it; working may stand before it
    last     there is a number or formula
    whole    there is text

    Args:
        strict: the tags, the box or the marker exactly once.
    """
    return any(_is_well_placed(text, name, strict) for name in place_names(places))


def _is_well_placed(text: str, name: str, strict: bool) -> bool:
    if name == "tags":
        text = text.strip()
        once = text.count(ANSWER) == 1 and text.count(END_ANSWER) == 1
        return text.startswith(ANSWER) and text.endswith(END_ANSWER) and (once or not strict)
    if name == "boxed":
        boxes = text.count(r"\boxed") + text.count(r"\fbox")
        return _boxed(text) is not None and (boxes == 1 or not strict)
    if name.startswith(AFTER):
        found = _behind(text, _marker(name))
        return bool(found) and text.rstrip().endswith(str(found)) and (text.count(_marker(name)) == 1 or not strict)
    return _FINDERS[name](text) is not None


def _marker(name: str) -> str:
    return name.removeprefix(AFTER).strip() if name.startswith(AFTER) else ""


def _in_tags(text: str) -> str | None:
    start = text.rfind(ANSWER, 0, max(0, text.rfind(END_ANSWER)))
    if start < 0:
        return None
    start += len(ANSWER)
    return text[start : text.find(END_ANSWER, start)]


def _boxed(text: str) -> str | None:
    """The last box; a box inside another is part of it, and boxes joined by "and", "or" or a comma are one list."""
    boxes = boxes_in(text)
    loose = list(_LOOSE_BOX.finditer(text))
    if loose and (not boxes or loose[-1].start() > boxes[-1][2]):
        return loose[-1][1].rstrip(".,;")
    if not boxes:
        return None
    first = len(boxes) - 1
    while first and (gap := text[boxes[first - 1][2] + 1 : boxes[first][0]]) and _JOINED.fullmatch(gap):
        first -= 1
    inside = dict.fromkeys(text[start:end] for _, start, end in boxes[first:])
    return ", ".join(inside)


def boxes_in(text: str) -> list[tuple[int, int, int]]:
    """Every complete box that is in no other: where it begins, where its inside begins, where it closes."""
    open_braces: list[tuple[int, int] | None] = []  # None: a brace that is no box
    boxes = []
    for match in _BRACES.finditer(text):
        token = match[0]
        if len(token) > 2:
            open_braces.append((match.start(), match.end()))
        elif token == "{":
            open_braces.append(None)
        elif token == "}" and open_braces and (opened := open_braces.pop()) is not None:
            boxes.append((*opened, match.start()))
    kept: list[tuple[int, int, int]] = []
    for box in reversed(boxes):  # a box around others closes after them
        if not kept or box[2] < kept[-1][0]:
            kept.append(box)
    return kept[::-1]


def _behind(text: str, marker: str) -> str | None:
    start = text.rfind(marker)
    if start < 0:
        return None
    line = text[start + len(marker) :].lstrip().partition("\n")[0].strip()
    return line or None


def _last(text: str) -> str | None:
    tail = text[-TAIL_CHARS:]
    numbers = list(_NUMBER.finditer(tail))
    found = [numbers[-1]] if numbers else []
    if tail.count("$") % 2 == 0:  # an odd one is the sign of a dollar
        formulas = [match for match in _FORMULA.finditer(tail) if not _PROSE.search(_inside(match))]
        found += formulas[-1:]
    if not found:
        return None
    last = max(found, key=lambda match: match.end())
    return _inside(last).strip()


def _inside(match: re.Match[str]) -> str:
    return next((group for group in match.groups() if group is not None), match[0])


def _whole(text: str) -> str | None:
    return text.strip() or None


_FINDERS = {"tags": _in_tags, "boxed": _boxed, "last": _last, "whole": _whole}
