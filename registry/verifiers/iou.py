"""How well does the box that was answered cover the reference?"""

from __future__ import annotations

from registry import verifiers
from registry.example import Example
from registry.verifiers.box_verifier import BoxVerifier
from registry.verifiers.overlap import intersection_over_union


@verifiers.register("iou")
class IoU(BoxVerifier):
    """Intersection over union of the answered box and the reference, 0 to 1; 0 where no box, or several, can be read.

    A box is ``[x1, y1, x2, y2]``, whole numbers or decimals, with x1 < x2 and y1 < y2, as a list, as JSON with ``bbox_2d``,
    as ``(x1,y1),(x2,y2)`` or with a name to each number; words beside it are ignored. Both boxes are compared as fractions
    of width and height, so the frame of the reference (`example.box_frame`) and the model's may differ. Does not apply
    (None) to an example whose `box_frame` is None, because its answer is not a box.

    Source: RECAP (arXiv 2510.21978v2), IoU reward. Differs: the published code reads whole numbers only, takes the first of
    several boxes, and counts an overlap of one pixel as none; here the whole picture, from edge to edge, earns nothing
    unless it overlaps the reference by half.

    >>> example = Example(id="1", question="where?", answer="[0, 0, 200, 100]", box_frame="file",
    ...                   file_size=(400, 200), processed_size=(280, 140))
    >>> IoU("processed")('<answer>{"bbox_2d": [0, 0, 140, 70]}</answer>', example)
    1.0
    >>> [IoU("fraction")(f"<answer>{box}</answer>", example) for box in ("[0, 0, 0.25, 0.5]", "[0, 0, 1, 1]")]
    [0.5, 0.0]

    Args:
        completion_frame: the frame that the model writes boxes in: 'processed' (pixels of the image as the model sees it:
            Qwen2.5-VL), 'file' (pixels of the file), 'fraction' (0 to 1) or 'thousandths' (0 to 1000: Qwen2-VL, Qwen3-VL).

    Raises:
        ValueError: an unknown frame; at a call, an example whose reference is not one box or lacks the size that converting
            its frame takes: a mistake in the data, not babble.
    """

    def __call__(self, completion: str, example: Example) -> float | None:
        if example.box_frame is None:
            return None
        reference = self.one_reference(example, example.box_frame)
        box = self.one_answer(completion, example, reference)
        return 0.0 if box is None else intersection_over_union(box, reference)
