import json
import time
from decimal import Decimal

import numpy as np
import pytest

from registry.example import Example, MalformedExample
from registry.replay.boxes import box_text, boxes_text
from registry.verifiers.boxes import Boxes

SIZE = (640, 480)
CROWD = [[4 * i % 600 + 0.25, 4 * (i // 150) + 0.25, 4 * i % 600 + 3.5, 4 * (i // 150) + 3.5] for i in range(900)]
BOX = "[10, 20, 30, 40]"


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


@pytest.mark.parametrize(
    "value",
    [
        "The cat is at [10, 20, 30, 40].",
        "cat: [10, 20, 30, 40]",
        "x1=10, y1=20, x2=30, y2=40",
        "\uff3b10\uff0c20\uff0c30\uff0c40\uff3d",
        json.dumps([{"bbox_2d": [10, 20, 30, 40], "label": "x" * 11_000}], indent=8),
        json.dumps(json.dumps([10, 20, 30, 40])),
        {"x0": 10, "y0": 20, "x1": 30, "y1": 40},
        {"xmin": 10, "ymin": 20, "width": 20, "height": 20},
        {"x1": 10, "y1": 20, "w": 20, "h": 20},
        {"Left": 10, "Top": 20, "Width": 20, "Height": 20},
        {"bndbox": {"xmin": "10", "ymin": "20", "xmax": "30", "ymax": "40"}},
        {"bbox": "[10, 20, 30, 40]"},
        [Decimal(10), np.float32(20), np.int64(30), 40.0],
        np.array([10, 20, 30, 40]),
    ],
)
def test_forms_of_one_box(value):
    assert box_text(value, "xyxy", "file", SIZE) == BOX
    assert boxes_text(value, "xyxy", "file", SIZE) == f"[{BOX}]"


@pytest.mark.parametrize(
    ("value", "order"),
    [
        ("The cat is at [10, 20, 30, 40].", "xywh"),  # as whose corners
        ('The cat is at {"box_2d": [10, 20, 30, 40]}.', "xyxy"),  # y before x
        ("at [10, 20, 30, 40] or [1, 2, 3, 4]", "xyxy"),
        ("[10, 20, 30, 40]" + " " * 100_000, "xyxy"),  # too long
    ],
)
def test_text_of_another_meaning_is_refused(value, order):
    with pytest.raises(MalformedExample):
        box_text(value, order, "file", SIZE)


@pytest.mark.parametrize(
    ("value", "frame"), [([0.50001, 0.5, 0.50004, 0.6], "fraction"), ([10.001, 10, 10.004, 20], "file")]
)
def test_a_box_that_has_no_area_as_it_is_written(value, frame):
    with pytest.raises(MalformedExample, match="no area"):
        box_text(value, "xyxy", frame, SIZE)


@pytest.mark.parametrize("count", [1, 105, 500, 900])
def test_what_is_read_is_judged_and_what_cannot_be_judged_is_malformed(count):
    if count == 900:
        with pytest.raises(MalformedExample, match=r"900 boxes of .* characters, of which 20,000 can be judged"):
            boxes_text(CROWD, "xyxy", "file", SIZE)
        return
    answer = boxes_text(
        json.dumps([{"bbox_2d": box, "label": "person"} for box in CROWD[:count]]), "xyxy", "file", SIZE
    )
    example = Example(id="1", question="q", answer=answer, box_frame="file", file_size=SIZE)
    assert Boxes("file")(f"<answer>{answer}</answer>", example) == 1


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
        ("<ref>cat</ref><box>[[10, 20, 30, 40], [0, 0, 5, 6]]</box>", "xyxy", TWO),  # InternVL
        ("[10, 20, 30, 40]\n[0, 0, 5, 6]", "xyxy", TWO),
        ({"objects": [{"bbox": [10, 20, 30, 40]}, {"bbox": [0, 0, 5, 6]}]}, "xyxy", TWO),
        ({"objects": {"bbox": [[10, 20, 20, 20], [0, 0, 5, 6]], "category": [0, 1]}}, "xywh", TWO),
        ('{"annotations": [{"bbox": [10, 20, 20, 20]}, {"bbox": [0, 0, 5, 6]}]}', "xywh", TWO),
        ("<box>(10,20),(30,40)</box>" + " " * 20_000 + "<box>(0,0),(5,6)</box>", "xyxy", TWO),
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


@pytest.mark.parametrize("piece", ["<box>", "<|box_start|>", "```", "[", "(1,2)", "```json"])
def test_a_long_text_takes_no_time(piece):
    started = time.process_time()
    with pytest.raises(MalformedExample):
        boxes_text((piece * 100_000)[:100_000], "xyxy", "file", SIZE)
    assert time.process_time() - started < 1
