import json

import numpy as np
import pytest

from registry.example import MalformedExample
from registry.replay.choices import choices_of, with_choices
from registry.replay.files import Jsonl


def example(tmp_path, **row):
    """The example of that row, through a file."""
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"question": "q", **row}) + '\n{"question": "usable", "answer": 1}\n')
    return Jsonl(str(file), shuffle=False).example(0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ()),
        ("", ()),
        ("nan", ()),
        (float("nan"), ()),
        ("[]", ()),
        ("null", ()),
        ([None], ()),
        (["a", 2], ("a", "2")),
        (["a", "b", None, None], ("a", "b")),  # as wide as the widest row
        (["a", "b", "", ""], ("a", "b")),
        (["0", "nan"], ("0", "nan")),
        ("['it\\'s', 'b']", ("it's", "b")),
        (np.array(["a", "b"]), ("a", "b")),
        (["A. cat", "B. dog"], ("cat", "dog")),
        (["A. cat", "dog"], ("A. cat", "dog")),
        (json.dumps(["😀", "𝑥"]), ("😀", "𝑥")),  # whose escapes are two halves each
        (r'["a\/b", "\u00e9"]', ("a/b", "é")),
        ('["cat", "dog", null]', ("cat", "dog")),
        ("[true, false]", ("True", "False")),
        ("""["the words 'cat' 'dog'", "x"]""", ("the words 'cat' 'dog'", "x")),
    ],
)
def test_choices(value, expected):
    assert choices_of(value)[0] == expected


@pytest.mark.parametrize(
    "value",
    [
        *("a, b", "__import__('os')", "['a'", "[" * 9999),
        *(3, [None, "a"], ["", "a"], ["x"] * 27),
        *({"text": ["a"]}, {"label": ["A"], "text": ["x", "y"]}, {"x": "y"}),
        *({"A": "x", "C": "y"}, {"A": "x", "B": None, "C": "y"}),
    ],
)
def test_choices_refused(value):
    with pytest.raises(MalformedExample):
        choices_of(value)


@pytest.mark.parametrize("value", ["['cat' 'dog']", "['cat'\n 'dog']"])
def test_choices_as_numpy_prints_them_are_refused(value):
    """Python would read them as one, 'catdog'."""
    with pytest.raises(MalformedExample, match="a list without commas"):
        choices_of(value)


LETTERED = {"label": ["A", "B", "C"], "text": ["newt", "bat", "cow"]}
NUMBERED = {"label": ["1", "2", "3"], "text": ["newt", "bat", "cow"]}


@pytest.mark.parametrize(
    ("choices", "answer"),
    [
        ({"A": "newt", "B": "bat", "C": "cow"}, "B"),
        ({"A": "newt", "B": "bat", "C": "cow", "D": None, "E": None}, "B"),  # as Arrow fills it up
        ({"C": "cow", "A": "newt", "B": "bat"}, "B"),
        ({"a": "newt", "b": "bat", "c": "cow"}, "bat"),
        ({"(A)": "newt", "(B)": "bat", "(C)": "cow"}, "B"),
        ({"1": "newt", "2": "bat", "3": "cow"}, "2"),
        ({"0": "newt", "1": "bat", "2": "cow"}, 1),
        (LETTERED, "B"),
        (NUMBERED, "2"),  # ARC has both
        (NUMBERED, 2),
        (json.dumps(NUMBERED), "2"),
        ([{"label": "A", "text": "newt"}, {"label": "B", "text": "bat"}, {"label": "C", "text": "cow"}], "B"),
        ([{"label": label, "text": text} for label, text in zip("123", ("newt", "bat", "cow"), strict=True)], "2"),
        ({"label": ["C", "B", "A"], "text": ["newt", "bat", "cow"]}, "B"),
    ],
)
def test_choices_with_labels(choices, answer, tmp_path):
    found = example(tmp_path, choices=choices, answer=answer)
    assert found.choices == ("newt", "bat", "cow")
    assert found.answer in ("B", "bat")
    assert found.question == "q\nA. newt\nB. bat\nC. cow"


def test_a_label_that_no_choice_has_is_malformed(tmp_path):
    with pytest.raises(MalformedExample, match="answer '4' is none of the 3 choices"):
        example(tmp_path, choices=NUMBERED, answer="4")


@pytest.mark.parametrize("choices", [{"label": [], "text": []}, {"label": None, "text": None}, {"A": None}, {}])
def test_labels_without_choices_are_none(choices, tmp_path):
    assert example(tmp_path, choices=choices, answer="4").choices == ()


@pytest.mark.parametrize("question", ["Which?\nA. newt\nB. bat", "Which? (A) newt (B) bat", "Which? A: newt; B: bat"])
def test_choices_that_are_listed_already(question):
    assert with_choices(question, ("newt", "bat")) == question


def test_choices_that_are_only_mentioned():
    question = "Which is a mammal, the newt or the bat?"
    assert with_choices(question, ("newt", "bat")) == question + "\nA. newt\nB. bat"
