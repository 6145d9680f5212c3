"""Does the point that was answered lie on the thing?"""

from __future__ import annotations

from registry import verifiers
from registry.box_formats import read_boxes, read_points
from registry.example import Example
from registry.verifiers.answers import answer_of
from registry.verifiers.box_frames import frame_size
from registry.verifiers.box_verifier import BoxVerifier


@verifiers.register("point_in_box")
class PointInBox(BoxVerifier):
    """1 where the one point that was answered lies in the box of the reference, edges included, otherwise 0.

    Source: ScreenSpot (SeeClick, arXiv 2401.10935), click accuracy: a box that is answered in place of a point stands for
    its centre. Differs: of several points the published script takes the first two numbers; here a choice is no answer.
    A point is ``(x, y)``, ``[x, y]``, JSON with ``point_2d`` or ``x`` and ``y``, or ``<point x="1" y="2">``.

    >>> example = Example(id="1", question="the button?", answer="[10, 10, 30, 20]", box_frame="file", file_size=(100, 50))
    >>> judge = PointInBox("fraction")
    >>> judge("<answer>(0.2, 0.3)</answer>", example), judge("<answer>(0.2, 0.3) or (0.8, 0.9)</answer>", example)
    (1.0, 0.0)

    Args:
        completion_frame: the frame that the model writes points in, as of `iou`.

    Raises:
        ValueError: as `iou`.
    """

    def __call__(self, completion: str, example: Example) -> float | None:
        if example.box_frame is None:
            return None
        x1, y1, x2, y2 = self.one_reference(example, example.box_frame)
        width, height = frame_size(self.completion_frame, example)
        point = _one_point(answer_of(completion, example) or "")
        if point is None:
            return 0.0
        x, y = point[0] / width, point[1] / height
        return float(x1 <= x <= x2 and y1 <= y <= y2)


def _one_point(text: str) -> tuple[float, float] | None:
    boxes, points = read_boxes(text), read_points(text)
    if boxes is None or points is None:
        return None
    if len(boxes) == 1:  # corners are read as points, too
        x1, y1, x2, y2 = boxes[0]
        corners = {(x1, y1), (x2, y2), (x1, y2), (x2, y1)}
        return ((x1 + x2) / 2, (y1 + y2) / 2) if set(points) <= corners else None
    return points[0] if len(points) == 1 and not boxes else None
