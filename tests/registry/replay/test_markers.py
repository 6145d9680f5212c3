import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.example import MalformedExample
from registry.replay import box_formats, encoded, markers
from registry.replay.markers import MARKER, place


@pytest.mark.parametrize("module", [box_formats, encoded, markers])
def test_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize(
    ("question", "pictures", "expected"),
    [
        ("<image>How many?", "a", ("How many?", "a")),
        ("<image>\n<image>\n How many?", "ab", ("How many?", "ab")),
        ("How many?\n<image>", "a", ("How many?\n<image>", "a")),
        ("<image> A dog: <image> Compare.", "ab", ("<image> A dog: <image> Compare.", "ab")),
        ("How many?", "abc", ("How many?", "abc")),
        ("<image 1> and <image 2>", "ab", ("<image> and <image>", "ab")),
        ("<image_2> and <image_1>", "ab", ("<image> and <image>", "ba")),
        ("<image 1> <image 2> q", "ab", ("q", "ab")),
        ("Is <image 1> in <image 1>?", "a", ("Is <image> in <image>?", "aa")),
        ("Look at <image 2>.", "abc", ("<image><image>Look at <image>.", "acb")),
        ("Is <image> like <image 2>?", "a", ("Is <image> like <image 2>?", "a")),
    ],
)
def test_place(question, pictures, expected):
    assert place(question, pictures) == (expected[0], tuple(expected[1]))


@pytest.mark.parametrize(
    ("question", "pictures"), [("<image>", ""), ("<image>", "ab"), ("a <image> b <image>", "a"), ("<image 0>", "a")]
)
def test_another_number_than_pictures(question, pictures):
    with pytest.raises(MalformedExample):
        place(question, pictures)


@given(st.lists(st.sampled_from(["word ", "<image>", "<image>\n", " "]), max_size=8))
def test_each_picture_keeps_its_place_among_the_words(parts):
    question = "".join(parts)
    pictures = range(question.count(MARKER))
    placed, order = place(question, pictures)
    assert order == tuple(pictures)
    assert placed.count(MARKER) in (0, len(order))
    assert placed == question or not question.strip().partition("word")[2].count(MARKER)
