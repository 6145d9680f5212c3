import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import verifiers
from registry.example import Example
from registry.verifiers.answer_format import AnswerFormat

EXAMPLE = Example(id="1", question="?", answer="4")


@pytest.mark.parametrize(
    ("completion", "strict", "published"),
    [
        ("<answer>4</answer>", 1, 1),
        (" <answer>\n4\n</answer>\n", 1, 1),
        ("<answer></answer>", 1, 1),
        ("<answer>3</answer><answer>4</answer>", 0, 1),
        ("<answer><answer>4</answer></answer>", 0, 1),
        ("it is <answer>4</answer>", 0, 0),
        ("<answer>4</answer>.", 0, 0),
        ("<think>2+2</think><answer>4</answer>", 0, 0),
        ("<answer>4", 0, 0),
        ("</answer><answer>", 0, 0),
        ("4", 0, 0),
        ("", 0, 0),
    ],
)
def test_pinned(completion: str, strict: float, published: float) -> None:
    assert AnswerFormat()(completion, EXAMPLE) == strict
    assert AnswerFormat(strict=False)(completion, EXAMPLE) == published


@given(st.text())
def test_one_pair_of_tags_around_any_text_without_tags(text: str) -> None:
    expected = float("<answer>" not in text and "</answer>" not in text)
    assert AnswerFormat()(f"<answer>{text}</answer>", EXAMPLE) == expected


def test_is_found_by_name_and_survives_pickling() -> None:
    judge = pickle.loads(pickle.dumps(verifiers.build("answer_format", strict=False)))
    assert isinstance(judge, AnswerFormat)
    assert judge.strict is False
