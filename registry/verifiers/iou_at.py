"""Was the thing found: is the overlap of the boxes large enough?"""

from __future__ import annotations

from registry import verifiers
from registry.example import BoxFrame, Example
from registry.verifiers.box_verifier import BoxVerifier
from registry.verifiers.overlap import intersection_over_union


@verifiers.register("iou_at")
class IoUAt(BoxVerifier):
    """1 where the IoU of the answered box and the reference is at least a threshold, otherwise 0.

    Source: RefCOCO's accuracy at 0.5, as referring expression comprehension reports it (a hit is an IoU above 0.5; the
    published scripts differ in whether 0.5 itself is one: here it is). Boxes are read as by `iou`.

    >>> example = Example(id="1", question="where?", answer="[0, 0, 50, 50]", box_frame="thousandths")
    >>> judge = IoUAt(0.5, completion_frame="thousandths")
    >>> judge("<answer>(0,0),(50,30)</answer>", example), judge("<answer>(0,0),(50,20)</answer>", example)
    (1.0, 0.0)

    Args:
        threshold: in (0, 1].
        completion_frame: as of `iou`.

    Raises:
        ValueError: as `iou`; a threshold out of range.
    """

    def __init__(self, threshold: float = 0.5, completion_frame: BoxFrame = "processed") -> None:
        super().__init__(completion_frame)
        if not 0 < threshold <= 1:
            raise ValueError(f"verifiers.iou_at.threshold must lie in (0, 1]; it is {threshold}")
        self.threshold = threshold

    def __call__(self, completion: str, example: Example) -> float | None:
        if example.box_frame is None:
            return None
        reference = self.one_reference(example, example.box_frame)
        box = self.one_answer(completion, example, reference)
        return float(box is not None and intersection_over_union(box, reference) >= self.threshold)
