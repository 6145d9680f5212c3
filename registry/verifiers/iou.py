"""How well does the box that was answered cover the reference?"""

from __future__ import annotations

import re
from typing import get_args

from registry import verifiers
from registry.example import BoxFrame, Example
from registry.verifiers.base import Verifier
from registry.verifiers.tags import answer_text

Box = tuple[float, float, float, float]

MAX_ANSWER_CHARS = 500
_NUMBER = r"\s*([+-]?(?:\d{1,7}(?:\.\d{0,17})?|\.\d{1,17}))\s*"
_BOX = re.compile(r"\[" + ",".join([_NUMBER] * 4) + r"\]")


@verifiers.register("iou")
class IoU(Verifier):
    """Intersection over union of the answered box and the reference, 0 to 1; 0 where no box can be read.

    A box is ``[x1, y1, x2, y2]``, whole numbers or decimals, with x1 < x2 and y1 < y2. The last `<answer>` must hold
    exactly one; words beside it are ignored. Both boxes are compared as fractions of width and height, so the frame
    that the reference is written in (`example.box_frame`) and the one that the model writes in may differ. Does not
    apply (None) to an example whose `box_frame` is None, because its answer is not a box.

    Source: RECAP (arXiv 2510.21978v2), IoU reward. Differs: the published code reads whole numbers only, takes the
    first of several boxes, and counts an overlap of one pixel as none.

    >>> example = Example(id="1", question="where?", answer="[0, 0, 200, 100]", box_frame="file",
    ...                   file_size=(400, 200), processed_size=(280, 140))
    >>> IoU("processed")("<answer>[0, 0, 140, 70]</answer>", example)
    1.0
    >>> IoU("fraction")("<answer>[0, 0, 0.25, 0.5]</answer>", example)
    0.5

    Args:
        completion_frame: the frame that the model writes boxes in: 'processed' (pixels of the image as the model sees
            it: Qwen2.5-VL), 'file' (pixels of the file) or 'fraction' (0 to 1).

    Raises:
        ValueError: an unknown frame; at a call, an example whose reference is no box or lacks the size that converting
            its frame takes: a mistake in the data, not babble.
    """

    quick = True

    def __init__(self, completion_frame: BoxFrame = "processed") -> None:
        if completion_frame not in get_args(BoxFrame):
            frames = ", ".join(get_args(BoxFrame))
            raise ValueError(f"verifiers.iou.completion_frame must be one of {frames}; it is {completion_frame!r}")
        self.completion_frame = completion_frame

    def __call__(self, completion: str, example: Example) -> float | None:
        if example.box_frame is None:
            return None
        reference = read_box(example.answer)
        if reference is None:
            raise ValueError(
                f"example {example.id!r}: the reference must be one box [x1, y1, x2, y2], not {example.answer[:80]!r}"
            )
        reference_size = _size(example.box_frame, example)
        completion_size = _size(self.completion_frame, example)  # before the box: no babble may hide a mistake
        box = read_box(answer_text(completion) or "")
        if box is None:
            return 0.0
        return intersection_over_union(_divide(box, completion_size), _divide(reference, reference_size))


def read_box(text: str) -> Box | None:
    """The one box in a text; None where there is none, more than one, an empty one, or the text is long."""
    found = _BOX.findall(text) if len(text) <= MAX_ANSWER_CHARS else []
    if len(found) != 1:
        return None
    x1, y1, x2, y2 = map(float, found[0])
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def intersection_over_union(a: Box, b: Box) -> float:
    """Of two boxes in one frame, neither of them empty."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    overlap = width * height
    return overlap / (_area(a) + _area(b) - overlap)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _divide(box: Box, size: tuple[float, float]) -> Box:
    return box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1]


def _size(frame: BoxFrame, example: Example) -> tuple[float, float]:
    """Width and height of the image in the units of a frame."""
    if frame == "fraction":
        return 1.0, 1.0
    size = example.file_size if frame == "file" else example.processed_size
    if size is None or min(size) <= 0:
        raise ValueError(f"example {example.id!r}: a box in the frame {frame!r} needs {frame}_size; it is {size}")
    return size
