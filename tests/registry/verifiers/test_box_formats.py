import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.verifiers.box_formats import MAX_CHARS, read_boxes, read_points

numbers = st.integers(-(10**6), 10**6) | st.floats(-1e4, 1e4).map(lambda value: round(value, 3))
boxes = st.tuples(numbers, numbers, numbers, numbers)
WRITERS = {
    "list": lambda b: f"[{b[0]}, {b[1]}, {b[2]}, {b[3]}]",
    "json": lambda b: f'{{"bbox_2d": [{b[0]}, {b[1]}, {b[2]}, {b[3]}], "label": "a"}}',
    "corners": lambda b: f"<|box_start|>({b[0]},{b[1]}),({b[2]},{b[3]})<|box_end|>",
    "pairs": lambda b: f"[[{b[0]}, {b[1]}], [{b[2]}, {b[3]}]]",
    "names": lambda b: f'{{"x1": {b[0]}, "y1": {b[1]}, "x2": {b[2]}, "y2": {b[3]}}}',
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


@given(st.text(alphabet='[](),.0123456789xy12=:" \n<>-', max_size=200))
def test_any_text_is_read(text: str) -> None:
    for read in (read_boxes, read_points):
        found = read(text)
        assert found is None or len(found) == len(set(found))


@pytest.mark.parametrize(
    "text", ["[" * MAX_CHARS * 9, "[ " * (MAX_CHARS // 2), "[1" * (MAX_CHARS // 2), "x1=" * 1000, "(" * MAX_CHARS]
)
def test_a_hostile_text_holds_no_box(text: str) -> None:
    assert not read_boxes(text)
    assert not read_points(text)


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
        ("y = 4, x = 3", []),
    ],
)
def test_points(text: str, points: list[tuple[float, float]]) -> None:
    assert read_points(text) == points
