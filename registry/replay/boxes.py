"""Boxes as tables write them -> ``[x1, y1, x2, y2]``."""

from __future__ import annotations

from typing import Any, Literal

from registry.box_formats import MAX_CHARS
from registry.example import BoxFrame, MalformedExample, Size
from registry.replay.box_formats import corners_or_numbers, each_box

BoxOrder = Literal["xyxy", "xywh"]
"""Two corners, or the top left corner with width and height."""

DECIMALS: dict[BoxFrame, int] = {"file": 2, "processed": 2, "fraction": 4, "thousandths": 2}
EXTENTS: dict[BoxFrame, float] = {"fraction": 1, "thousandths": 1000}
OVERHANG = 0.05  # of a side: how far an annotator's box may stick out of the picture


def box_text(value: Any, order: BoxOrder, frame: BoxFrame, file_size: Size | None) -> str:
    """One box as text, in the frame in which it was written.

    Args:
        value: four numbers, or a form in which data sets publish them (`registry.replay.box_formats`).
        order: what the four numbers are, where no names say it.
        frame: their frame; it is believed, but a box that cannot lie in such a frame is refused.
        file_size: (width, height) of the picture as published, where known.

    >>> box_text("[{'Position': [10, 20, 30.5, 40], 'Confidence': 1}]", "xyxy", "file", (64, 48))
    '[10, 20, 30.5, 40]'
    >>> box_text([10, 20, 30, 5], "xywh", "file", (64, 48))
    '[10, 20, 40, 25]'

    Raises:
        MalformedExample: not one box, a box without area, or one outside its frame.
    """
    (x1, y1, x2, y2), named = corners_or_numbers(value, order == "xyxy")
    if order == "xywh" and not named:
        x2, y2 = x1 + x2, y1 + y2
    x1, y1, x2, y2 = (round(number, DECIMALS[frame]) for number in (x1, y1, x2, y2))
    shown = f"[{', '.join(map(_short, (x1, y1, x2, y2)))}]"
    if not (x1 < x2 and y1 < y2):
        raise MalformedExample(f"box {shown} has no area (read as {order})")
    extent = EXTENTS.get(frame)
    if extent is not None and not _inside((x1, y1, x2, y2), (extent, extent)):
        raise MalformedExample(f"box {shown} does not lie in the frame {frame!r}, 0 to {extent:g}")
    if frame == "thousandths" and x2 <= 1 and y2 <= 1:
        raise MalformedExample(f"box {shown} lies in one of the frame's thousandths: is its frame 'fraction'?")
    if frame == "file" and file_size is not None:
        if x2 <= 1 and y2 <= 1:
            raise MalformedExample(f"box {shown} lies in one pixel of the frame 'file': is its frame 'fraction'?")
        if not _inside((x1, y1, x2, y2), file_size):
            width, height = file_size
            raise MalformedExample(f"box {shown} sticks out of the picture, {width}x{height}: is its frame 'file'?")
    return shown


def boxes_text(value: Any, order: BoxOrder, frame: BoxFrame, file_size: Size | None) -> str:
    """Several boxes as text, ``[[x1, y1, x2, y2], ...]``; the rest as `box_text`.

    >>> boxes_text({"bbox": [[10, 20, 20, 20], [0, 0, 5, 6]], "category": [0, 1]}, "xywh", "file", (64, 48))
    '[[10, 20, 30, 40], [0, 0, 5, 6]]'
    """
    boxes = each_box(value, order == "xyxy")
    if not boxes:
        raise MalformedExample("answer is an empty list of boxes")
    written = f"[{', '.join(box_text(box, order, frame, file_size) for box in boxes)}]"
    if len(written) > MAX_CHARS:
        raise MalformedExample(
            f"answer has {len(boxes)} boxes of {len(written):,} characters, of which {MAX_CHARS:,} can be judged"
        )
    return written


def _inside(box: tuple[float, float, float, float], size: tuple[float, float]) -> bool:
    margins = [OVERHANG * side for side in size]
    return (
        box[0] >= -margins[0]
        and box[1] >= -margins[1]
        and box[2] <= size[0] + margins[0]
        and box[3] <= size[1] + margins[1]
    )


def _short(number: float) -> str:
    return str(int(number) if number == int(number) else number)
