import pytest

from registry.example import MalformedExample
from registry.replay.boxes import box_text, boxes_text

SIZE = (640, 480)


@pytest.mark.parametrize(
    ("value", "order", "frame", "expected"),
    [
        ([10, 20, 30, 40], "xyxy", "file", "[10, 20, 30, 40]"),
        ("[10, 20, 30, 40]", "xyxy", "file", "[10, 20, 30, 40]"),
        ([265.35, 143.46, 381.84, 453.03], "xyxy", "file", "[265.35, 143.46, 381.84, 453.03]"),
        ([0.0, 0.0, 103.93000030517578, 299.989990234375], "xywh", "file", "[0, 0, 103.93, 299.99]"),
        ("[{'Position': [1, 2, 3, 4], 'Confidence': 0.9}]", "xyxy", "processed", "[1, 2, 3, 4]"),
        ({"Position": [1, 2, 3, 4]}, "xyxy", "file", "[1, 2, 3, 4]"),
        ([[1, 2, 3, 4]], "xyxy", "file", "[1, 2, 3, 4]"),
        ([0.1, 0.25, 0.123456, 1.0], "xyxy", "fraction", "[0.1, 0.25, 0.1235, 1]"),
        ([600, 400, 645, 485], "xyxy", "file", "[600, 400, 645, 485]"),  # annotators' boxes stick out a little
    ],
)
def test_read(value, order, frame, expected):
    assert box_text(value, order, frame, SIZE) == expected


@pytest.mark.parametrize(
    ("value", "order", "frame", "complaint"),
    [
        ("a cat", "xyxy", "file", "is not a box"),
        (None, "xyxy", "file", "not one box of four numbers"),
        ([1, 2, 3], "xyxy", "file", "not one box of four numbers"),
        ([1, 2, 3, float("nan")], "xyxy", "file", "not one box of four numbers"),
        ([[1, 2, 3, 4], [5, 6, 7, 8]], "xyxy", "file", "not one box of four numbers"),
        ("(" * 5000, "xyxy", "file", "is not a box"),
        ([30, 20, 10, 40], "xyxy", "file", "no area"),
        ([100, 100, 0, 5], "xywh", "file", "no area"),
        ([100, 100, 800, 400], "xyxy", "file", "sticks out of the picture, 640x480"),
        ([0.1, 0.2, 0.3, 0.4], "xyxy", "file", "is its frame 'fraction'"),
        ([0.1, 0.2, 0.3, 0.4], "xyxy", "thousandths", "is its frame 'fraction'"),
        ([100, 200, 300, 400], "xyxy", "fraction", "does not lie in the frame 'fraction'"),
    ],
)
def test_refused(value, order, frame, complaint):
    with pytest.raises(MalformedExample, match=complaint):
        box_text(value, order, frame, SIZE)


TWO = "[[10, 20, 30, 40], [0, 0, 5, 6]]"


@pytest.mark.parametrize(
    ("value", "order", "expected"),
    [
        ([[10, 20, 30, 40], [0, 0, 5, 6]], "xyxy", TWO),
        (TWO, "xyxy", TWO),
        ('```json\n[{"bbox_2d": [10, 20, 30, 40]}, {"bbox_2d": [0, 0, 5, 6]}]\n```', "xyxy", TWO),
        ("<box>(10,20),(30,40)</box> and <box>(0,0),(5,6)</box>", "xyxy", TWO),
        ({"bbox": [[10, 20, 20, 20], [0, 0, 5, 6]], "category": [0, 1]}, "xywh", TWO),
        ({"boxes": [{"x1": 10, "y1": 20, "x2": 30, "y2": 40}, {"x1": 0, "y1": 0, "x2": 5, "y2": 6}]}, "xywh", TWO),
        ([10, 20, 30, 40], "xyxy", "[[10, 20, 30, 40]]"),
        ([[10, 20], [30, 40]], "xyxy", "[[10, 20, 30, 40]]"),
        ({"bbox_2d": [10, 20, 30, 40]}, "xyxy", "[[10, 20, 30, 40]]"),
    ],
)
def test_several(value, order, expected):
    assert boxes_text(value, order, "file", SIZE) == expected


@pytest.mark.parametrize("value", [[], "no box", [[1, 2, 3]], [[10, 20, 30, 40], [5, 5, 5, 5]], None, {"bbox": []}])
def test_several_refused(value):
    with pytest.raises(MalformedExample):
        boxes_text(value, "xyxy", "file", SIZE)
