"""What the verifiers of boxes share: reading both sides, frames, and what no box may earn."""

from __future__ import annotations

from registry.box_formats import Numbers, read_boxes, read_reference
from registry.example import BoxFrame, Example
from registry.verifiers.answers import answer_of
from registry.verifiers.base import Verifier
from registry.verifiers.box_frames import HIT, as_fractions, check_frame, frame_size, spans_picture
from registry.verifiers.overlap import Box, intersection_over_union


class BoxVerifier(Verifier):
    """Compares boxes as fractions of width and height, whatever frames they are written in.

    A box is ``[x1, y1, x2, y2]`` in any format of `registry.box_formats`, with x1 < x2 and y1 < y2; a reference
    may lack the brackets. The same box twice is one. A box from edge to edge of the picture earns nothing, unless it
    overlaps the reference by half: it fits every question. Does not apply (None) to an example whose `box_frame` is None,
    because its answer is no box.

    Args:
        completion_frame: the frame that the model writes boxes in: 'processed' (pixels of the image as the model sees it:
            Qwen2.5-VL), 'file' (pixels of the file), 'fraction' (0 to 1) or 'thousandths' (0 to 1000: Qwen2-VL, Qwen3-VL).

    Raises:
        ValueError: an unknown frame; at a call, an example whose reference is no box or lacks the size that converting its
            frame takes: a mistake in the data, not babble.
    """

    quick = True

    def __init__(self, completion_frame: BoxFrame = "processed") -> None:
        check_frame(completion_frame, f"{type(self).__name__}: completion_frame")
        self.completion_frame: BoxFrame = completion_frame

    def reference_boxes(self, example: Example, frame: BoxFrame) -> list[Box]:
        """In fractions. Raises: ValueError: there is none, or one of them cannot be read."""
        boxes = _proper(read_reference(example.answer))
        if not boxes:
            shown = example.answer[:80]
            raise ValueError(f"example {example.id!r}: the reference must be a box [x1, y1, x2, y2], not {shown!r}")
        size = frame_size(frame, example)
        return [as_fractions(box, size) for box in boxes]

    def one_reference(self, example: Example, frame: BoxFrame) -> Box:
        boxes = self.reference_boxes(example, frame)
        if len(boxes) > 1:
            raise ValueError(
                f"example {example.id!r}: the reference must be one box [x1, y1, x2, y2], not {len(boxes)};"
                " for several there is @verifiers.boxes()"
            )
        return boxes[0]

    def answered_boxes(self, completion: str, example: Example) -> list[Box]:
        """In fractions; [] where there is none, or one that cannot be read."""
        size = frame_size(self.completion_frame, example)  # before the answer: no babble may hide a mistake in the data
        return [as_fractions(box, size) for box in _proper(read_boxes(answer_of(completion, example) or ""))]

    def one_answer(self, completion: str, example: Example, reference: Box) -> Box | None:
        """The box that was answered, in fractions; None where there is a choice, or it is the whole picture for a part."""
        boxes = self.answered_boxes(completion, example)
        return boxes[0] if len(boxes) == 1 and may_earn(boxes[0], reference) else None


def may_earn(box: Box, reference: Box) -> bool:
    """Whether a box is more than the whole picture; where the reference nearly is, that is right."""
    return not spans_picture(box) or intersection_over_union(box, reference) >= HIT


def _proper(boxes: list[Numbers] | None) -> list[Box]:
    """The boxes that were read, if all of them have an area."""
    return boxes if boxes and all(x1 < x2 and y1 < y2 for x1, y1, x2, y2 in boxes) else []
