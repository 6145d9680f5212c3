"""How much two boxes in one frame have in common."""

from __future__ import annotations

Box = tuple[float, float, float, float]
"""x1 < x2 and y1 < y2: the corners nearest to and farthest from the origin."""


def intersection_over_union(a: Box, b: Box) -> float:
    """The area in common over the area of both, 0 to 1.

    >>> intersection_over_union((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    common = intersection(a, b)
    return common / (area(a) + area(b) - common)


def generalized_iou(a: Box, b: Box) -> float:
    """IoU less the share of the smallest box around both that neither fills, -1 to 1.

    Source: Generalized Intersection over Union (arXiv 1902.09630), algorithm 1: IoU - |C minus (A or B)| / |C|.

    >>> generalized_iou((0, 0, 2, 2), (1, 0, 3, 2)), generalized_iou((0, 0, 1, 1), (3, 0, 4, 1))
    (0.3333333333333333, -0.5)
    """
    union = area(a) + area(b) - intersection(a, b)
    around = area((min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])))
    return intersection_over_union(a, b) - (around - union) / around


def intersection(a: Box, b: Box) -> float:
    """The area in common."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
