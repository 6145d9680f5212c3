"""giou, iou_at, boxes and point_in_box, against other ways to the same numbers."""

import itertools
import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.example import Example
from registry.verifiers.boxes import Boxes
from registry.verifiers.giou import GIoU
from registry.verifiers.iou import IoU
from registry.verifiers.iou_at import IoUAt
from registry.verifiers.overlap import Box, generalized_iou, intersection_over_union
from registry.verifiers.point_in_box import PointInBox

EXAMPLE = Example(id="1", question="where?", answer="[2, 2, 6, 6]", box_frame="file", file_size=(10, 10))
cell = st.integers(0, 8)
grid_boxes = st.tuples(cell, cell, st.integers(1, 4), st.integers(1, 4)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def cells(box: Box) -> set[tuple[int, int]]:
    """The unit squares of a box with whole corners: areas by counting."""
    return set(itertools.product(range(int(box[0]), int(box[2])), range(int(box[1]), int(box[3]))))


@given(grid_boxes, grid_boxes)
def test_overlaps_by_counting_squares(a: Box, b: Box) -> None:
    union = len(cells(a) | cells(b))
    iou = len(cells(a) & cells(b)) / union
    around = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    assert intersection_over_union(a, b) == pytest.approx(iou)
    assert generalized_iou(a, b) == pytest.approx(iou - (around - union) / around)
    assert -1 <= generalized_iou(a, b) <= iou + 1e-12


@pytest.mark.parametrize(
    ("answer", "giou"),
    [
        ("[2, 2, 6, 6]", 1.0),
        ("[6, 2, 10, 6]", 0.5),  # side by side: nothing in common, the box around is full
        ("[6, 6, 10, 10]", 0.25),  # corner to corner: half of 64 is full, GIoU = -1/2
        ("[0, 0, 10, 10]", 0.0),  # the whole picture
        ("[2, 2, 6, 6] or [1, 1, 2, 2]", 0.0),
        ("", 0.0),
    ],
)
def test_giou_is_mapped_to_the_unit_interval(answer: str, giou: float) -> None:
    assert GIoU("file")(f"<answer>{answer}</answer>", EXAMPLE) == pytest.approx(giou)


@given(grid_boxes, st.floats(0.01, 1))
def test_iou_at_is_whether_iou_reaches_the_threshold(box: Box, threshold: float) -> None:
    completion = f"<answer>{list(box)}</answer>"
    reached = float((IoU("file")(completion, EXAMPLE) or 0) >= threshold)
    assert IoUAt(threshold, "file")(completion, EXAMPLE) == reached


@settings(deadline=None)  # the first call imports scipy
@given(
    st.lists(grid_boxes, min_size=1, max_size=4, unique=True), st.lists(grid_boxes, min_size=1, max_size=4, unique=True)
)
def test_the_matching_is_the_best_of_all(answered: list[Box], references: list[Box]) -> None:
    size = 40
    example = replace(EXAMPLE, answer=str([list(box) for box in references]), file_size=(size, size))
    few, many = sorted((answered, references), key=len)
    best = max(
        sum(intersection_over_union(a, b) for a, b in zip(few, chosen, strict=True))
        for chosen in itertools.permutations(many, len(few))
    )
    reward = Boxes("file")(f"<answer>{[list(box) for box in answered]}</answer>", example)
    assert reward == pytest.approx(best / len(many))


def test_boxes_a_carpet_does_not_pay() -> None:
    references = "[[0, 0, 2, 2], [6, 6, 8, 8]]"
    example = replace(EXAMPLE, answer=references, file_size=(20, 20))
    judge = Boxes("file")
    right = judge(f"<answer>{references}</answer>", example)
    carpet = [[x, y, x + 2, y + 2] for x in range(0, 20, 2) for y in range(0, 20, 2)]
    assert right == 1
    assert judge(f"<answer>{carpet}</answer>", example) == pytest.approx(2 / 100)
    assert judge(f"<answer>{[*carpet, [0, 0, 1, 1]]}</answer>", example) == 0, "more than any picture has"
    assert judge("<answer>[0, 0, 20, 20]</answer>", example) == 0, "the whole picture"
    assert judge("<answer>[[0, 0, 2, 2], [0, 0, 2, 2]]</answer>", example) == 0.5, "the same box twice is one"


@pytest.mark.parametrize("count", [105, 300])
def test_boxes_of_a_crowd(count: int) -> None:
    """As many as shelves, crowds and lines of text have."""
    boxes = [[12 * (i % 20), 8 * (i // 20), 12 * (i % 20) + 10.25, 8 * (i // 20) + 7.5] for i in range(count)]
    example = replace(EXAMPLE, answer=str(boxes), file_size=(640, 480))
    judge = Boxes("file")
    written = [{"bbox_2d": box, "label": "person"} for box in boxes]
    assert judge(f"<answer>{boxes}</answer>", example) == 1
    assert judge(f"<answer>{json.dumps(written)}</answer>", example) == 1
    assert judge(f"<answer>{boxes[: count // 2]}</answer>", example) == pytest.approx(count // 2 / count)


def test_boxes_order_does_not_matter() -> None:
    rng = random.Random(0)
    boxes = [[x, x, x + 2, x + 3] for x in range(0, 12, 3)]
    example = replace(EXAMPLE, answer=str(boxes), file_size=(20, 20))
    for _ in range(5):
        rng.shuffle(boxes)
        assert Boxes("file")(f"<answer>{boxes}</answer>", example) == 1


def test_boxes_a_threshold_drops_poor_pairs() -> None:
    example = replace(EXAMPLE, answer="[[0, 0, 4, 4], [6, 6, 8, 8]]")
    completion = "<answer>[[0, 0, 4, 2], [6, 6, 8, 8]]</answer>"
    assert Boxes("file")(completion, example) == 0.75
    assert Boxes("file", threshold=0.6)(completion, example) == 0.5


@pytest.mark.parametrize(
    ("answer", "reward"),
    [
        ("(4, 4)", 1),
        ("[2, 6]", 1),  # on the edge
        ('{"point_2d": [4, 4]}', 1),
        ('<point x="4" y="4">it</point>', 1),
        ("[3, 3, 5, 5]", 1),  # the centre of a box
        ("(3,3),(5,5)", 1),
        ("[0, 0, 10, 10]", 1),  # whose centre it is
        ("(7, 4)", 0),
        ("[5, 5, 9, 9]", 0),
        ("(4, 4) or (8, 8)", 0),
        ("(4, 4), (8, 8), (1, 1)", 0),
        ("[3, 3, 5, 5] or (8, 8)", 0),
        ("in the middle", 0),
        ("", 0),
    ],
)
def test_point_in_box(answer: str, reward: float) -> None:
    assert PointInBox("file")(f"<answer>{answer}</answer>", EXAMPLE) == reward


@pytest.mark.parametrize("judge", [GIoU("file"), IoUAt(), Boxes(), PointInBox()])
def test_none_applies_where_the_answer_is_no_box(judge: GIoU | IoUAt | Boxes | PointInBox) -> None:
    assert judge("<answer>[0, 0, 1, 1]</answer>", Example(id="1", question="?", answer="4")) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IoUAt(0), r"iou_at.threshold must lie in \(0, 1\]; it is 0"),
        (lambda: Boxes(threshold=2), r"boxes.threshold must lie in \[0, 1\]; it is 2"),
        (lambda: GIoU("pixels"), "GIoU: completion_frame must be one of .*it is 'pixels'"),
    ],
)
def test_settings_out_of_range(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()
