import doctest
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import box_formats
from registry.box_formats import MAX_CHARS, read_boxes, read_points, read_reference


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(box_formats)
    assert result.attempted
    assert not result.failed


numbers = st.integers(-(10**6), 10**6) | st.floats(-1e4, 1e4).map(lambda value: round(value, 3))
boxes = st.tuples(numbers, numbers, numbers, numbers)
WRITERS = {
    "list": lambda b: f"[{b[0]}, {b[1]}, {b[2]}, {b[3]}]",
    "json": lambda b: f'{{"bbox_2d": [{b[0]}, {b[1]}, {b[2]}, {b[3]}], "label": "a"}}',
    "corners": lambda b: f"<|box_start|>({b[0]},{b[1]}),({b[2]},{b[3]})<|box_end|>",
    "pairs": lambda b: f"[[{b[0]}, {b[1]}], [{b[2]}, {b[3]}]]",
    "names": lambda b: f'{{"x1": {b[0]}, "y1": {b[1]}, "x2": {b[2]}, "y2": {b[3]}}}',
    "round": lambda b: f"({b[0]}, {b[1]}, {b[2]}, {b[3]})",
    "spaces": lambda b: f"[{b[0]} {b[1]} {b[2]} {b[3]}]",
    "tags": lambda b: f"<box>{b[0]} {b[1]} {b[2]} {b[3]}</box>",
    "tokens": lambda b: f"<|box_start|>{b[0]}, {b[1]}, {b[2]}, {b[3]}<|box_end|>",
    "pixels": lambda b: f"[{b[0]}px, {b[1]}px, {b[2]} px, {b[3]} px]",
    "full width": lambda b: f"[{b[0]}\uff0c{b[1]}\uff0c{b[2]}\uff0c{b[3]}]",
    "to": lambda b: f"({b[0]}, {b[1]}) to ({b[2]}, {b[3]})",
    "labels": lambda b: f"top-left corner: ({b[0]}, {b[1]}), bottom-right corner: ({b[2]}, {b[3]})",
    "labels in JSON": lambda b: f'{{"top_left": [{b[0]}, {b[1]}], "bottom_right": [{b[2]}, {b[3]}]}}',
    "labels and names": lambda b: (
        f'{{"topLeft": {{"x": {b[0]}, "y": {b[1]}}}, "bottomRight": {{"x": {b[2]}, "y": {b[3]}}}}}'
    ),
}


@given(
    st.lists(boxes, min_size=1, max_size=6, unique=True),
    st.sampled_from(sorted(WRITERS)),
    st.sampled_from([" ", "\n", "; "]),
)
def test_what_is_written_is_read_in_order(given_boxes: list, form: str, between: str) -> None:  # type: ignore[type-arg]
    text = between.join(WRITERS[form](box) for box in given_boxes)
    assert read_boxes(text) == [tuple(map(float, box)) for box in given_boxes]


@given(boxes, st.lists(st.sampled_from(sorted(WRITERS)), min_size=2, max_size=5))
def test_one_box_in_any_formats_is_one(box: tuple[float, ...], forms: list[str]) -> None:
    assert read_boxes("; ".join(WRITERS[form](box) for form in forms)) == [tuple(map(float, box))]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("(1, 2) (3, 4)", [(1, 2, 3, 4)]),
        ("(1, 2)\t(3, 4)", [(1, 2, 3, 4)]),
        ("(1, 2) - (3, 4)", [(1, 2, 3, 4)]),
        ("(1,2),(3,4) (5,6),(7,8)", [(1, 2, 3, 4), (5, 6, 7, 8)]),
        ("(1,2) (3,4), (5,6) (7,8)", [(1, 2, 3, 4), (5, 6, 7, 8)]),
        ("(1, 2)\n(3, 4)", []),
        ("(1, 2) and (3, 4)", []),
        ("(1, 2) or (3, 4)", []),
        ("(1, 2) (3, 4) (5, 6)", None),
        ("1, 2, 3, 4", []),
        ("[1, 2, 34]", []),
        ("<box>1, 2, 34</box>", []),
        ("left: 1, top: 2, w: 10, h: 20", [(1, 2, 11, 22)]),
        ("x1=1 y1=2 width=10 height=20", [(1, 2, 11, 22)]),
        ("cx: 1, cy: 2, w: 10, h: 20", []),
        ("bottom-right (3, 4)", []),
        ("top-left [1, 2] or [5, 6], bottom-right [3, 4]", []),
    ],
)
def test_what_is_one_box(text: str, found: list[tuple[int, ...]] | None) -> None:
    assert read_boxes(text) == found


def test_only_a_reference_may_be_bare() -> None:
    assert read_reference("29, 56.5,271,474\n") == read_reference("29 56.5 271 474") == [(29, 56.5, 271, 474)]
    assert read_reference("[1, 2, 3, 4], [5, 6, 7, 8]") == [(1, 2, 3, 4), (5, 6, 7, 8)]
    assert read_reference("1, 2, 3, 4, 5") == read_reference("1, 2, 34") == read_boxes("1, 2, 3, 4") == []


@given(st.text(alphabet='[](),.0123456789xy12=:" \n<>-', max_size=200))
def test_any_text_is_read(text: str) -> None:
    for read in (read_boxes, read_points):
        found = read(text)
        assert found is None or len(found) == len(set(found))


@pytest.mark.parametrize(
    "text",
    [
        "[" * MAX_CHARS * 9,
        "[ " * (MAX_CHARS // 2),
        "[1" * (MAX_CHARS // 2),
        "x1=" * 1000,
        "(" * MAX_CHARS,
        "<box>" * (MAX_CHARS // 5),
        "top-left" * (MAX_CHARS // 8),
        " " * MAX_CHARS * 50,
        "1e9" * MAX_CHARS,
    ],
)
def test_a_hostile_text_holds_no_box(text: str) -> None:
    assert not read_boxes(text)
    assert not read_points(text)


@pytest.mark.parametrize(
    "piece",
    [
        "<box>" + "1         " * 4,
        "[1234567.1234567 px ,",
        "(1,2)" + " " * 9,
        "top left (1, 2)" + " " * 40,
        "top-left (1,2)" + "lower" * 8,
        "[1.0000000000000000000000e10,",
        'top-left{"x":1,"y":2}' + "bottom-right " * 3,
    ],
)
def test_a_hostile_text_takes_no_time(piece: str) -> None:
    text = (piece * MAX_CHARS)[:MAX_CHARS]
    start = time.process_time()
    read_boxes(text), read_points(text), read_reference(text)
    assert time.process_time() - start < 0.2


@pytest.mark.parametrize("indent", [1, 2, 4, 8, "\t", " " * 40])
@pytest.mark.parametrize("around", [lambda b: b, lambda b: {"result": {"objects": b}}])
def test_how_json_is_indented_means_nothing(indent: int | str, around) -> None:  # type: ignore[no-untyped-def]
    written = [
        [{"bbox_2d": [1, 2.5, 3, 4], "label": "cat"}, {"bbox_2d": [5, 6, 7, 8], "label": "dog"}],
        [{"x1": 1, "y1": 2.5, "x2": 3, "y2": 4}, {"x1": 5, "y1": 6, "x2": 7, "y2": 8}],
        [{"top_left": [1, 2.5], "bottom_right": [3, 4]}, {"top_left": [5, 6], "bottom_right": [7, 8]}],
    ]
    for boxes in written:
        assert read_boxes(json.dumps(around(boxes), indent=indent)) == [(1, 2.5, 3, 4), (5, 6, 7, 8)]
    points = [{"point_2d": [1, 2]}, {"x": 3, "y": 4}]
    assert read_points(json.dumps(around(points), indent=indent)) == [(1, 2), (3, 4)]


def test_space_means_nothing_but_a_line_break_joins_no_pairs() -> None:
    assert read_boxes("[" + " " * 5000 + "1,\r\n\r\n2, 3, 4 ]") == [(1, 2, 3, 4)]
    assert read_boxes("(1, 2)          (3, 4)") == [(1, 2, 3, 4)]
    assert read_boxes("(1, 2)   \n   (3, 4)") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"width": 640, "height": 480, "x1": 29, "y1": 56, "x2": 271, "y2": 474}', [(29, 56, 271, 474)]),
        ("Image width: 640, height: 480. x1: 29, y1: 56, x2: 271, y2: 474", [(29, 56, 271, 474)]),
        ("w: 640, h: 480, xmin: 29, ymin: 56, xmax: 271, ymax: 474", [(29, 56, 271, 474)]),
        ("width: 640, height: 480, left: 29, top: 56, right: 271, bottom: 474", [(29, 56, 271, 474)]),
        ("x1: 29, y1: 56, width: 640, height: 480, x2: 271, y2: 474", [(29, 56, 271, 474)]),
        ("width: 640, x1: 29, y1: 56, x2: 271, y2: 474, height: 480", [(29, 56, 271, 474)]),
        ("x1: 1, y1: 2, x2: 3, y2: 4, width: 9, height: 9; x1: 5, y1: 6, x2: 7, y2: 8", [(1, 2, 3, 4), (5, 6, 7, 8)]),
        ("width: 2, height: 3, x: 1, y: 1; width: 4, height: 5, x: 6, y: 6", [(1, 1, 3, 4), (6, 6, 10, 11)]),
        ("width: 640, height: 480, x: 29, y: 56, width: 20, height: 30", None),  # of the picture, or of the box?
        ("width: 640, height: 480, x: 29, y: 56, w: 20, h: 30", None),
    ],
)
def test_the_size_of_the_picture_is_not_that_of_the_box(text: str, found: list[tuple[int, ...]] | None) -> None:
    assert read_boxes(text) == found


@given(st.lists(st.floats(1e-9, 1e6), min_size=4, max_size=4, unique=True))
def test_numbers_are_read_with_all_their_digits(given_box: list[float]) -> None:
    """As Python prints them: 0.029601029601029602, 5e-05."""
    for text in (f"{given_box}", " ".join(map(str, given_box)), "<box>{}, {}, {}, {}</box>".format(*given_box)):
        assert read_reference(text) == [tuple(given_box)]
    assert read_points(str(given_box[:2])) == [tuple(given_box[:2])]


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("(3, 4)", [(3, 4)]),
        ("at [3, 4].", [(3, 4)]),
        ('{"x": 3, "y": 4}', [(3, 4)]),
        ('<point x="61.5" y="40.4" alt="ear">ear</point>', [(61.5, 40.4)]),
        ("x = 3, y = 4 and x = 5, y = 6", [(3, 4), (5, 6)]),
        ("(3, 4), (3, 4)", [(3, 4)]),
        ("(3, 4, 5)", []),
        ("(3px, 4px)", [(3, 4)]),
        ("\uff083\uff0c4\uff09", [(3, 4)]),
        ("y = 4, x = 3", [(3, 4)]),
        ('[{"y": 4, "x": 3}, {"y": 6, "x": 5}]', [(3, 4), (5, 6)]),
        ("y = 2; then x = 3, y = 4", None),  # whose is the 3?
    ],
)
def test_points(text: str, points: list[tuple[float, float]]) -> None:
    assert read_points(text) == points
