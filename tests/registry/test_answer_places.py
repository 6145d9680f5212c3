import doctest
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import answer_places
from registry.answer_places import LENIENT, check_places, find_answer, is_well_placed, write_answer

LONG = 300_000
EVERY_PLACE = ["tags", "boxed", "after:####", "after:Answer:", "last", "whole"]


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(answer_places)
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{42}.", "42"),
        (r"so $\boxed{\frac{1}{2}}$", r"\frac{1}{2}"),
        (r"\boxed{3} no, \boxed{4} it is", "4"),
        (r"\fbox{4}", "4"),
        (r"\boxed {4}", "4"),
        (r"\boxed 5", "5"),
        (r"it is $\boxed 5$.", "5"),
        (r"\boxed{3} and then \boxed 5", "5"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{1\right\}}", r"\left\{1\right\}"),
        (r"\boxed{\boxed{5}}", r"\boxed{5}"),
        (r"\boxed{3 or \boxed{4}}", r"3 or \boxed{4}"),
        (r"\boxed{3} but \boxed{4", "3"),
        (r"\boxed{ then \boxed{4}", "4"),
        (r"\boxed{3} and \boxed{4}", "3, 4"),
        (r"$\boxed{3}$, $\boxed{4}$, and $\boxed{5}$", "3, 4, 5"),
        (r"\boxed{4} and \boxed{4}", "4"),
        (r"\boxed{840}. So \boxed{840}", "840"),
        (r"\boxed{1} \boxed{2}", "2"),
        (r"\boxed{}", ""),
        (r"\boxed{4", None),
        (r"\boxed4}", None),
        ("42", None),
    ],
)
def test_boxed(text: str, answer: str | None) -> None:
    assert find_answer(text, "boxed") == answer


@pytest.mark.parametrize(
    ("place", "text", "answer"),
    [
        ("after:####", "6 * 7 = 42\n#### 42", "42"),
        ("after:####", "#### 41\n#### 42\n", "42"),
        ("after:####", "####\n42\nthat is all", "42"),
        ("after:####", "#### 42\nthat is all", "42"),
        ("after:####", "####", None),
        ("after:####", "42", None),
        ("after:Answer:", "**Answer:** 42", "** 42"),
        ("after:Answer:", "so\nAnswer: $42$", "$42$"),
        ("after: Answer: ", "Answer: B", "B"),
    ],
)
def test_after_a_marker(place: str, text: str, answer: str | None) -> None:
    assert find_answer(text, place) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("6 * 7 = 42", "42"),
        ("It is 42.", "42"),
        ("the total is $1,234.50.", "1,234.50"),
        ("he pays $5 and then $6 more", "6"),
        ("first 5, then -6 in all", "-6"),
        ("it is 3/4 of the cake", "3/4"),
        (r"it is \frac{3}{4} of it", r"\frac{3}{4}"),
        (r"the side is $2\sqrt{3}$ long.", r"2\sqrt{3}"),
        (r"the side is \(2\sqrt{3}\)", r"2\sqrt{3}"),
        ("$x = 3$, which is about 3.14", "3.14"),
        ("12% of them", "12%"),
        ("3e8 m", "3e8"),
        ("a.5", None),
        ("no number", None),
        ("", None),
    ],
)
def test_last(text: str, answer: str | None) -> None:
    assert find_answer(text, "last") == answer


def test_places_are_tried_in_order() -> None:
    text = r"<answer>1</answer> \boxed{2} #### 3"
    assert find_answer(text, ("boxed", "tags")) == "2"
    assert find_answer(text, ["after:Answer:", "tags"]) == "1"
    assert find_answer("", ("boxed", "whole")) is None


@given(st.integers().map(str) | st.sampled_from(["B", r"\frac{1}{2}", "[1, 2]"]), st.sampled_from(EVERY_PLACE))
def test_what_is_written_in_a_place_is_found_there(answer: str, place: str) -> None:
    text = write_answer(answer, place)
    if place != "last" or answer.lstrip("-").isdigit():
        assert find_answer(text, place) == answer
        assert is_well_placed(text, place)


@pytest.mark.parametrize(
    ("place", "text", "strict", "loose"),
    [
        ("tags", "<answer>4</answer>", 1, 1),
        ("tags", "so <answer>4</answer>", 0, 0),
        ("boxed", r"so it is \boxed{4}.", 1, 1),
        ("boxed", r"\boxed{3} \boxed{4}", 0, 1),
        ("boxed", r"\boxed{3", 0, 0),
        ("after:####", "so\n#### 4\n", 1, 1),
        ("after:####", "#### 3\n#### 4", 0, 1),
        ("after:####", "#### 4\nand more", 0, 0),
        ("after:####", "####", 0, 0),
        ("last", "so 4", 1, 1),
        ("last", "so", 0, 0),
        ("whole", "so", 1, 1),
        ("whole", " ", 0, 0),
        (("boxed", "tags"), "<answer>4</answer>", 1, 1),
    ],
)
def test_well_placed(place: str, text: str, strict: bool, loose: bool) -> None:
    assert is_well_placed(text, place) is bool(strict)
    assert is_well_placed(text, place, strict=False) is bool(loose)


@pytest.mark.parametrize("wrong", ["box", "after:", "after: ", "", [], ["tags", "box"], "after"])
def test_an_unknown_place_is_an_error_that_names_the_binding(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"^sums/Domain.answer must be 'tags', 'boxed'.*'after:####'.*it is "):
        check_places(wrong, "sums/Domain.answer")


@pytest.mark.parametrize("place", [*EVERY_PLACE, LENIENT])
@pytest.mark.parametrize(
    "piece",
    ["\\boxed{", "}", "\\boxed ", "{", "\\boxed{1} and ", "$", "$1", "9", "1,234,", "####", "\\frac{", "-", "(\\("],
)
def test_hostile_text_takes_linear_time(place: str, piece: str) -> None:
    hostile = piece * (LONG // len(piece))
    start = time.perf_counter()
    find_answer(hostile, place)
    is_well_placed(hostile, place)
    assert time.perf_counter() - start < 5  # takes a fraction of a second; quadratic time would be minutes
