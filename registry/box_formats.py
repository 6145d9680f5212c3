"""Boxes and points as models write them -> numbers.

| format | example |
|---|---|
| list (Qwen2.5-VL, most data sets) | ``[29, 56, 272, 470]``, ``{"bbox_2d": [29, 56, 272, 470]}``, in a fence or not |
| list in round brackets | ``(29, 56, 272, 470)`` |
| tags (MiniCPM-V) | ``<box>45 117 423 987</box>``, ``<|box_start|>45, 117, 423, 987<|box_end|>`` |
| corners (Qwen2-VL) | ``<|box_start|>(45,117),(423,987)<|box_end|>``, with or without its special tokens |
| pairs | ``[[29, 56], [272, 470]]``, ``(29, 56) (272, 470)``, ``(29, 56) to (272, 470)`` |
| labels | ``top-left (29, 56), bottom-right (272, 470)``, ``{"top_left": [29, 56], "bottom_right": [272, 470]}`` |
| names (JSON, XML, prose) | ``{"x1": 29, "y1": 56, "x2": 272, "y2": 470}``, ``xmin = 29, ...``, ``left``, ``width`` |

Numbers may be quoted or end in ``px``, marks may be of full width; how wide the space is between them, or how lines are
broken, means nothing (indented JSON). Location tokens (``<loc0045>``) are not read: their order
and their frame are the model's own.

Everything is found by patterns whose repetitions are bounded, on a text whose length is.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

Numbers = tuple[float, float, float, float]
"""x1, y1, x2, y2 as written: the corners may be swapped, or the box empty."""

MAX_CHARS = 20_000
"""Of an answer with boxes, runs of space counted as one; a longer one is no answer. Some 350 boxes of JSON with labels."""

_NUMBER = r"""["']?([+-]?(?:\d{1,7}(?:\.\d{0,40})?|\.\d{1,40})(?:e[+-]?\d{1,2})?)(?:\s?px)?["']?"""
_SPACE = re.compile(r"\s+")
_COMMA = r"\s{0,9},\s{0,9}"
_FOUR = rf"(?:{_COMMA}|\s{{1,9}})".join([_NUMBER] * 4)
_BARE = re.compile(_FOUR, re.IGNORECASE)
_LIST = re.compile(
    rf"(?:[\[(]|<box>|<\|box_start\|>)\s{{0,9}}{_FOUR}\s{{0,9}}(?:[\])]|</box>|<\|box_end\|>)", re.IGNORECASE
)
_ROUND = re.compile(rf"\(\s{{0,9}}{_NUMBER}{_COMMA}{_NUMBER}\s{{0,9}}\)", re.IGNORECASE)
_SQUARE = re.compile(rf"\[\s{{0,9}}{_NUMBER}{_COMMA}{_NUMBER}\s{{0,9}}\]", re.IGNORECASE)
_JOINT = re.compile(r"\s{0,9}(?:,|to|[-\u2013\u2192]|->)\s{0,9}|[ \t]{1,9}")
_WORDS = r"[^\d()\[\]{}]{0,40}"
_PAIR = _COMMA.join(rf"""(?:["']?{axis}["']?\s{{0,9}}[:=]\s{{0,9}})?{_NUMBER}""" for axis in "xy")
_CORNER = rf"{_WORDS}[(\[{{]\s{{0,9}}{_PAIR}\s{{0,9}}[)\]}}]"
_LABELLED = re.compile(rf"(?:top|upper)[-_ ]?left{_CORNER}{_WORDS}(?:bottom|lower)[-_ ]?right{_CORNER}", re.IGNORECASE)
_NAMED = re.compile(
    r"(?<![A-Za-z0-9_])(x_?min|y_?min|x_?max|y_?max|[xy][0-2]?|left|top|right|bottom|width|height|w|h)"
    rf"""["']?\s{{0,9}}[:=>]\s{{0,9}}{_NUMBER}""",
    re.IGNORECASE,
)
_ENDS = (
    ("x1", "y1", "x2", "y2"),
    ("x0", "y0", "x1", "y1"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
)
FAMILIES: tuple[tuple[str, str, str, str], ...] = (
    *_ENDS,
    *((x, y, *size) for x, y, *_ in (*_ENDS, ("x", "y")) for size in (("width", "height"), ("w", "h"))),
)
"""Names of the four numbers of a box, small and without ``_``: of two corners, or of a corner and a size (`SIZES`)."""
_FAR = {x: (far_x, far_y) for x, _, far_x, far_y in _ENDS}
SIZES = {"width", "height", "w", "h"}
_FULL_WIDTH = {ord(mark) + 0xFEE0: mark for mark in ",.:=()[]{}"}


def read_boxes(text: str) -> list[Numbers] | None:
    """The boxes in a text, each once, in their order; words beside them are ignored.

    >>> read_boxes('```json\\n[{"bbox_2d": [29, 56, 272, 470], "label": "man"}]\\n```')
    [(29.0, 56.0, 272.0, 470.0)]
    >>> read_boxes("(45,117),(423,987)(1,2),(3,4)")
    [(45.0, 117.0, 423.0, 987.0), (1.0, 2.0, 3.0, 4.0)]
    >>> read_boxes("x: 10, y: 20, width: 5, height: 5"), read_boxes("[1, 2, 3]"), read_boxes("[[1,2],[3,4],[5,6]]")
    ([(10.0, 20.0, 15.0, 25.0)], [], None)

    Returns: None where what stands there cannot be read: a polygon, half a box, too long a text.
    """
    text = _plain(text)
    if len(text) > MAX_CHARS:
        return None
    text = _LABELLED.sub(r"[\1,\2,\3,\4]", text)
    found: list[tuple[int, Numbers]] = [
        (match.start(), _four([float(number) for number in match.groups()])) for match in _LIST.finditer(text)
    ]
    for pattern in (_ROUND, _SQUARE):
        for start, run in _runs(pattern, text):
            if len(run) > 2:
                return None
            if len(run) == 2:
                found.append((start, _four([*run[0], *run[1]])))
    named = _named_boxes(text)
    if named is None:
        return None
    found += named
    return list(dict.fromkeys(numbers for _, numbers in sorted(found)))


def read_reference(text: str) -> list[Numbers] | None:
    """As `read_boxes`; the table of a data set may write a box bare, which in an answer could be any four numbers.

    >>> read_reference("29, 56, 272, 470"), read_boxes("29, 56, 272, 470")
    ([(29.0, 56.0, 272.0, 470.0)], [])
    """
    return read_boxes(f"[{text}]" if _BARE.fullmatch(text := _plain(text).strip()) else text)


def read_points(text: str) -> list[tuple[float, float]] | None:
    """The points in a text: ``(x, y)``, ``[x, y]``, ``x="1" y="2"``, ``{"x": 1, "y": 2}``; None: too long, or unclear.

    >>> read_points('{"point_2d": [12, 30], "label": "ear"}'), read_points('<point x="61.5" y="40">ear</point>')
    ([(12.0, 30.0)], [(61.5, 40.0)])
    """
    text = _plain(text)
    if len(text) > MAX_CHARS:
        return None
    found = [
        (match.start(), (float(match[1]), float(match[2])))
        for pattern in (_ROUND, _SQUARE)
        for match in pattern.finditer(text)
    ]
    held: dict[str, float] = {}
    y_first = False
    for match in _NAMED.finditer(text):
        if (name := match[1].lower()) in ("x", "y"):
            y_first = y_first or (name == "x" and "y" in held)
            held[name] = float(match[2])
        if len(held) == 2:
            found.append((match.start(), (held["x"], held["y"])))
            held = {}
    if y_first and held:  # whose the numbers are cannot be told
        return None
    return list(dict.fromkeys(point for _, point in sorted(found)))


def _plain(text: str) -> str:
    """Of normal width, each run of space as one, which is a line break where it has one."""
    return _SPACE.sub(lambda run: "\n" if "\n" in run[0] else " ", text.translate(_FULL_WIDTH))


def _four(numbers: Sequence[float]) -> Numbers:
    x1, y1, x2, y2 = numbers
    return x1, y1, x2, y2


def _runs(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, list[tuple[float, float]]]]:
    """Where pairs that are joined alike begin, and the pairs: two are the corners of a box, three or more a polygon."""
    start, end, run, joint = 0, -1, list[tuple[float, float]](), ""
    for match in pattern.finditer(text):
        pair = float(match[1]), float(match[2])
        joined = _JOINT.fullmatch(text, end, match.start()) if run else None
        if joined and joint in ("", joined[0].strip() or " "):
            run.append(pair)
            joint = joined[0].strip() or " "
        else:
            if run:
                yield start, run
            start, run, joint = match.start(), [pair], ""
        end = match.end()
    if run:
        yield start, run


def _named_boxes(text: str) -> list[tuple[int, Numbers]] | None:
    """Boxes whose numbers have names, four names each, and beside two corners maybe the size of the picture.

    None where a name comes again before the four are complete, or where a size may be that of the picture as well as of a box.
    """
    found: list[tuple[int, Numbers]] = []
    held: dict[str, float] = {}
    start, size_first = 0, False
    named = [(match.start(), match[1].lower().replace("_", ""), float(match[2])) for match in _NAMED.finditer(text)]
    for (place, name, number), (_, following, _) in itertools.zip_longest(named, named[1:], fillvalue=(0, "", 0.0)):
        if name in held:
            return None
        start = start if held else place
        held[name] = number
        for family in FAMILIES:
            if not set(family) <= set(held) or not held.keys() - set(family) <= SIZES:
                continue
            sized = family[2] in SIZES
            if sized and following in _FAR.get(family[0], ()):  # the corners are named: the size is the picture's
                continue
            size_first = size_first or (sized and next(iter(held)) in SIZES)
            x, y, far_x, far_y = (held[part] for part in family)
            found.append((start, (x, y, x + far_x, y + far_y) if sized else (x, y, far_x, far_y)))
            held = {}
            break
    return None if len(held) >= 3 or (size_first and held) else found
