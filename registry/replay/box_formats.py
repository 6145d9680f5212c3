"""The forms in which data sets publish one box.

[10, 20, 30, 40]   (10, 20), (30, 40)   "10 20 30 40"                       four numbers
{"bbox_2d": [...]}   [{"Position": [...], "Confidence": 1}]                 under a name, alone in a list or not
{"x1": 10, "y1": 20, "x2": 30, "y2": 40}   {"left": 10, "top": 20, ...}     named corners
{"x": 10, "y": 20, "width": 20, "height": 20}                               a corner and a size, named
<|box_start|>(10,20),(30,40)<|box_end|>   <box>...</box>   ```json ... ```  what models write, around any of these
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from registry.example import MalformedExample

FOUR = ("bbox_2d", "bbox", "box", "Position", "position")
"""Names of a list of four numbers. Not ``box_2d``, under which Gemini writes y before x."""

CORNERS = (
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"),
)
SIZED = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))

WRAPPED = (
    re.compile(r"<\|box_start\|>(.*?)<\|box_end\|>", re.DOTALL),
    re.compile(r"<box>(.*?)</box>", re.DOTALL),
    re.compile(r"```(?:json)?(.*?)```", re.DOTALL),
)
BETWEEN = re.compile(r"[\s\[\](){},;]+")
LONGEST = 10_000  # characters; a box has some fifty

Box = tuple[float, float, float, float]


def corners_or_numbers(value: Any) -> tuple[Box, bool]:
    """The four numbers of a box, and whether names say that they are two corners: x1, y1, x2, y2.

    >>> corners_or_numbers('{"bbox_2d": [10, 20, 30, 40], "label": "cat"}')
    ((10, 20, 30, 40), False)
    >>> corners_or_numbers({"x": 10, "y": 20, "width": 5, "height": 6})
    ((10, 20, 15, 26), True)

    Raises:
        MalformedExample: not one box of four finite numbers.
    """
    found = _read(value) if isinstance(value, str) else value
    while isinstance(found, list | tuple) and len(found) == 1:
        found = found[0]
    if isinstance(found, Mapping):
        named = _named(found)
        if named is not None:
            return named, True
        found = next((found[name] for name in FOUR if name in found), None)
        if isinstance(found, Mapping):
            return corners_or_numbers(found)
    if isinstance(found, list | tuple) and len(found) == 2 and all(isinstance(pair, list | tuple) for pair in found):
        found = [*found[0], *found[1]]
    if isinstance(found, list | tuple) and len(found) == 4:
        numbers = [_number(item) for item in found]
        if None not in numbers:
            x, y, right, bottom = (number for number in numbers if number is not None)
            return (x, y, right, bottom), False
    raise MalformedExample(f"answer {str(value)[:80]!r} is not one box of four numbers")


def each_box(value: Any) -> list[Any]:
    """The boxes of a list, each in a form that `corners_or_numbers` reads; one box is a list of one.

    >>> each_box('[{"bbox_2d": [1, 2, 3, 4]}, {"bbox_2d": [5, 6, 7, 8]}]')
    [{'bbox_2d': [1, 2, 3, 4]}, {'bbox_2d': [5, 6, 7, 8]}]
    >>> each_box({"bbox": [[1, 2, 3, 4], [5, 6, 7, 8]], "category": [0, 1]}), each_box("<box>(1,2),(3,4)</box>")
    ([[1, 2, 3, 4], [5, 6, 7, 8]], ['(1,2),(3,4)'])
    """
    if isinstance(value, str):
        for wrapping in WRAPPED[:2]:
            if inside := wrapping.findall(value[:LONGEST]):
                return list(inside)
        value = _read(value)
    if isinstance(value, Mapping):
        held = next((value[name] for name in (*FOUR, "boxes", "bboxes") if name in value), None)
        several = isinstance(held, list | tuple) and all(isinstance(box, list | tuple | Mapping) for box in held)
        return list(held) if several and held is not None else [value]
    pairs = isinstance(value, list | tuple) and all(isinstance(item, list | tuple) and len(item) == 2 for item in value)
    if isinstance(value, list | tuple) and not pairs and all(isinstance(box, list | tuple | Mapping) for box in value):
        return list(value)
    return [value]


def _read(text: str) -> Any:
    """What a text says: JSON or Python, or four bare numbers; None where it says nothing of the kind."""
    inner = text[:LONGEST]
    for wrapping in WRAPPED:
        inside = wrapping.findall(inner)
        if len(inside) == 1:
            inner = inside[0]
    inner = inner.strip()
    for parse in (ast.literal_eval, json.loads):
        try:
            return parse(inner)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    words = [word for word in BETWEEN.split(inner) if word]
    if len(words) == 4:
        return words
    raise MalformedExample(f"answer {text[:80]!r} is not a box")


def _named(box: Mapping[str, Any]) -> Box | None:
    for names, sized in [(names, False) for names in CORNERS] + [(names, True) for names in SIZED]:
        if all(name in box for name in names):
            x, y, right, bottom = (_number(box[name]) for name in names)
            if x is None or y is None or right is None or bottom is None:
                return None
            return (x, y, x + right, y + bottom) if sized else (x, y, right, bottom)
    return None


def _number(value: Any) -> float | None:
    """A finite number, or the text of one; None for anything else."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value.strip()[:40])
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value
