"""How near is the box that was answered to the reference, even where they do not touch?"""

from __future__ import annotations

from registry import verifiers
from registry.example import Example
from registry.verifiers.box_verifier import BoxVerifier
from registry.verifiers.overlap import generalized_iou


@verifiers.register("giou")
class GIoU(BoxVerifier):
    """Generalised IoU of the answered box and the reference, mapped from [-1, 1] to [0, 1]; 0 where no box can be read.

    (1 + GIoU) / 2: 1 for the same box, 1/2 for two of a size side by side, towards 0 the farther they are apart. A box beside
    the thing thus earns a little, and more the nearer it lies, where `iou` is flat.

    Source: Generalized Intersection over Union (arXiv 1902.09630). Boxes are read as by `iou`.

    >>> example = Example(id="1", question="where?", answer="[0, 0, 0.25, 1]", box_frame="fraction")
    >>> judge = GIoU("fraction")
    >>> judge("<answer>[0, 0, 0.25, 1]</answer>", example), judge("<answer>[0.75, 0, 1, 1]</answer>", example)
    (1.0, 0.25)

    Args:
        completion_frame: as of `iou`.

    Raises:
        ValueError: as `iou`.
    """

    def __call__(self, completion: str, example: Example) -> float | None:
        if example.box_frame is None:
            return None
        reference = self.one_reference(example, example.box_frame)
        box = self.one_answer(completion, example, reference)
        return 0.0 if box is None else min(1.0, max(0.0, (1 + generalized_iou(box, reference)) / 2))
