"""Boxes in their frames -> fractions of width and height, in which any two can be compared."""

from __future__ import annotations

from typing import get_args

from registry.example import BoxFrame, Example
from registry.verifiers.overlap import Box

EDGE = 0.01
"""How near, as a fraction of a side, an edge lies to that of the picture to be on it."""
HIT = 0.5
"""The IoU from which a box counts as found in most benchmarks of grounding."""


def check_frame(frame: str, parameter: str) -> None:
    """Raises ValueError for a frame that there is not."""
    if frame not in get_args(BoxFrame):
        raise ValueError(f"{parameter} must be one of {', '.join(get_args(BoxFrame))}; it is {frame!r}")


def frame_size(frame: BoxFrame, example: Example) -> tuple[float, float]:
    """Width and height of the picture in the units of a frame. Raises: ValueError: the example lacks that size."""
    if frame == "fraction":
        return 1.0, 1.0
    if frame == "thousandths":
        return 1000.0, 1000.0
    size = example.file_size if frame == "file" else example.processed_size
    if size is None or min(size) <= 0:
        raise ValueError(f"example {example.id!r}: a box in the frame {frame!r} needs {frame}_size; it is {size}")
    return size


def as_fractions(box: Box, size: tuple[float, float]) -> Box:
    return box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1]


def spans_picture(box: Box) -> bool:
    """Whether a box, in fractions, reaches all four edges of the picture: it says nothing of where a thing is.

    >>> spans_picture((0.0, 0.005, 1.0, 1.2)), spans_picture((0.0, 0.0, 0.9, 1.0))
    (True, False)
    """
    return box[0] <= EDGE and box[1] <= EDGE and box[2] >= 1 - EDGE and box[3] >= 1 - EDGE
