"""The forms in which data sets publish one box.

[10, 20, 30, 40]   (10, 20), (30, 40)   "10 20 30 40"                       four numbers
{"bbox_2d": [...]}   [{"Position": [...], "Confidence": 1}]                 under a name, alone in a list or not
{"x1": 10, "y1": 20, "x2": 30, "y2": 40}   {"left": 10, "top": 20, ...}     named corners
{"x": 10, "y": 20, "width": 20, "height": 20}                               a corner and a size, named
<|box_start|>(10,20),(30,40)<|box_end|>   <box>...</box>   ```json ... ```  what models write, around any of these
"The cat is at [10, 20, 30, 40]."   "x1=10, y1=20, x2=30, y2=40"            as a model's are read (`registry.box_formats`)
"""

from __future__ import annotations

import ast
import json
import math
import numbers
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from registry.box_formats import FAMILIES, SIZES, read_reference
from registry.example import MalformedExample

FOUR = ("bbox_2d", "bbox", "box", "Position", "position", "bounding_box", "bndbox")
"""Names of a list of four numbers. Not ``box_2d``, under which Gemini writes y before x."""

SEVERAL = (*FOUR, "boxes", "bboxes", "objects", "annotations")
"""Names of a list of boxes."""

WRAPPED = (
    re.compile(r"<\|box_start\|>([^<]*)<\|box_end\|>"),
    re.compile(r"<box>([^<]*)</box>"),
    re.compile(r"```(?:json)?(.*?)```", re.DOTALL),
)
OTHER_ORDERS = re.compile(r"box_2d|yxyx|xywh|cxcy", re.IGNORECASE)
BETWEEN = re.compile(r"[\s\[\](){},;]+")
LONGEST = 100_000
"""Characters of a text with boxes; a box has some fifty."""

Box = tuple[float, float, float, float]


def corners_or_numbers(value: Any, corners: bool = True) -> tuple[Box, bool]:
    """The four numbers of a box, and whether names say that they are two corners: x1, y1, x2, y2.

    >>> corners_or_numbers('{"bbox_2d": [10, 20, 30, 40], "label": "cat"}')
    ((10, 20, 30, 40), False)
    >>> corners_or_numbers({"x": 10, "y": 20, "width": 5, "height": 6})
    ((10, 20, 15, 26), True)

    Args:
        value: what a table holds.
        corners: whether four numbers without names are two corners; else text with words around them is not read.

    Raises:
        MalformedExample: not one box of four finite numbers.
    """
    found = _read(value, corners) if isinstance(value, str) else value
    if isinstance(found, str):  # JSON within JSON
        return corners_or_numbers(found, corners)
    if isinstance(found, np.ndarray):
        found = found.tolist()
    while isinstance(found, list | tuple) and len(found) == 1:
        found = found[0]
    if isinstance(found, Mapping):
        named = _named(found)
        if named is not None:
            return named, True
        found = next((found[name] for name in FOUR if name in found), None)
        if isinstance(found, Mapping | str | np.ndarray):
            return corners_or_numbers(found, corners)
    if isinstance(found, list | tuple) and len(found) == 2 and all(isinstance(pair, list | tuple) for pair in found):
        found = [*found[0], *found[1]]
    if isinstance(found, list | tuple) and len(found) == 4:
        four = [_number(item) for item in found]
        if None not in four:
            x, y, right, bottom = (number for number in four if number is not None)
            return (x, y, right, bottom), False
    raise MalformedExample(f"answer {str(value)[:80]!r} is not one box of four numbers")


def each_box(value: Any, corners: bool = True) -> list[Any]:
    """The boxes of a list, each in a form that `corners_or_numbers` reads; one box is a list of one.

    >>> each_box('[{"bbox_2d": [1, 2, 3, 4]}, {"bbox_2d": [5, 6, 7, 8]}]')
    [{'bbox_2d': [1, 2, 3, 4]}, {'bbox_2d': [5, 6, 7, 8]}]
    >>> each_box({"bbox": [[1, 2, 3, 4], [5, 6, 7, 8]], "category": [0, 1]}), each_box("<box>(1,2),(3,4)</box>")
    ([[1, 2, 3, 4], [5, 6, 7, 8]], [((1, 2), (3, 4))])
    """
    if isinstance(value, str):
        for wrapping in WRAPPED[:2]:
            if inside := wrapping.findall(_checked(value)):
                return [box for held in inside for box in each_box(held, corners)]
        value = _read(value, corners)
        if isinstance(value, str):
            return each_box(value, corners)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        held = next((value[name] for name in SEVERAL if name in value), None)
        if isinstance(held, Mapping) and any(name in held for name in SEVERAL):
            return each_box(held, corners)
        several = isinstance(held, list | tuple) and all(isinstance(box, list | tuple | Mapping) for box in held)
        return list(held) if several and held is not None else [value]
    pairs = isinstance(value, list | tuple) and all(isinstance(item, list | tuple) and len(item) == 2 for item in value)
    if isinstance(value, list | tuple) and not pairs and all(isinstance(box, list | tuple | Mapping) for box in value):
        return list(value)
    return [value]


def _read(text: str, corners: bool) -> Any:
    """What a text says: JSON or Python, four bare numbers, or boxes among words. Raises: MalformedExample: nothing of it."""
    inner = _checked(text)
    for wrapping in WRAPPED:
        inside = wrapping.findall(inner)
        if len(inside) == 1:
            inner = inside[0]
    inner = inner.strip()
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(inner)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    words = [word for word in BETWEEN.split(inner) if word]
    if len(words) == 4 and None not in map(_number, words):
        return words
    boxes = read_reference(inner) if corners and not OTHER_ORDERS.search(inner) else None
    if not boxes:
        raise MalformedExample(f"answer {text[:80]!r} is not a box")
    return [list(box) for box in boxes]


def _checked(text: str) -> str:
    if len(text) > LONGEST:
        raise MalformedExample(
            f"answer {text[:40]!r}... has {len(text):,} characters: no more than {LONGEST:,} are read"
        )
    return text


def _named(box: Mapping[str, Any]) -> Box | None:
    folded = {str(name).lower().replace("_", ""): number for name, number in box.items()}
    for names in FAMILIES:
        if all(name in folded for name in names):
            x, y, right, bottom = (_number(folded[name]) for name in names)
            if x is None or y is None or right is None or bottom is None:
                return None
            return (x, y, x + right, y + bottom) if names[2] in SIZES else (x, y, right, bottom)
    return None


def _number(value: Any) -> float | None:
    """A finite number, or the text of one; None for anything else."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value.strip()[:40])
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real | Decimal) or not math.isfinite(value):
        return None
    return int(value) if isinstance(value, numbers.Integral) else float(value)
