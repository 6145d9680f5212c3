"""How well do the boxes that were answered cover all the references?"""

from __future__ import annotations

import numpy as np

from registry import verifiers
from registry.example import BoxFrame, Example
from registry.verifiers.box_verifier import BoxVerifier, may_earn
from registry.verifiers.overlap import Box, intersection_over_union

MAX_BOXES = 100
"""Of an answer, or twice as many as the references; matching is cubic."""


@verifiers.register("boxes")
class Boxes(BoxVerifier):
    """IoU of several boxes: those answered are matched to the references, the sum divided by the larger number of boxes.

    The matching is the one with the largest sum (Hungarian, scipy's `linear_sum_assignment`), as DETR (arXiv 2005.12872) and
    the rewards of visual R1 models match detections. Dividing by max(answered, references) makes a box too many cost what a
    missing one does: a carpet of boxes does not pay. The reference is a list of boxes, or JSON with ``bbox_2d``.

    >>> example = Example(id="1", question="the cats?", answer="[[0, 0, 10, 10], [20, 20, 30, 30]]", box_frame="thousandths")
    >>> judge = Boxes("thousandths")
    >>> judge("<answer>[[20, 20, 30, 30], [0, 0, 10, 5]]</answer>", example), judge("<answer>[0, 0, 10, 10]</answer>", example)
    (0.75, 0.5)

    Args:
        completion_frame: as of `iou`.
        threshold: a pair with a smaller IoU counts as none; 0: every overlap counts.

    Raises:
        ValueError: as `iou`, but for a reference of several boxes; a threshold outside [0, 1].
    """

    def __init__(self, completion_frame: BoxFrame = "processed", threshold: float = 0.0) -> None:
        super().__init__(completion_frame)
        if not 0 <= threshold <= 1:
            raise ValueError(f"verifiers.boxes.threshold must lie in [0, 1]; it is {threshold}")
        self.threshold = threshold

    def __call__(self, completion: str, example: Example) -> float | None:
        if example.box_frame is None:
            return None
        from scipy.optimize import linear_sum_assignment  # here, because it takes a while to import

        references = self.reference_boxes(example, example.box_frame)
        boxes = self.answered_boxes(completion, example)
        if not 0 < len(boxes) <= max(MAX_BOXES, 2 * len(references)):
            return 0.0
        gains = np.array([[self._gain(box, reference) for reference in references] for box in boxes])
        matched = gains[linear_sum_assignment(gains, maximize=True)]
        return float(min(1.0, matched.sum() / max(len(boxes), len(references))))

    def _gain(self, box: Box, reference: Box) -> float:
        value = intersection_over_union(box, reference) if may_earn(box, reference) else 0.0
        return value if value >= self.threshold else 0.0
