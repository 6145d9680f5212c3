import doctest

import pytest

from registry.answer_places import AnswerPlaces
from registry.example import Example
from registry.verifiers import answers
from registry.verifiers.accuracy import Accuracy
from registry.verifiers.answer_format import AnswerFormat
from registry.verifiers.answers import answer_of, lenient
from registry.verifiers.thinking_format import ThinkingFormat


def example(places: AnswerPlaces, answer: str = "4") -> Example:
    return Example(id="1", question="2 + 2?", answer=answer, answer_in=places)


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(answers)
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("place", ["tags", "boxed", "after:####", "last", "whole"])
def test_what_was_thought_is_no_answer(place: str) -> None:
    written = example(place).supervised_target
    assert answer_of(written, example(place)) == "4"
    assert answer_of(f"<think>5</think>{written}", example(place)) == "4"
    assert answer_of(f"5</think>{written}", example(place)) == "4"
    assert answer_of(f"<think>{written}</think>", example(place)) is None
    assert answer_of(f"<think>{written}", example(place)) is None
    assert answer_of(f"<think>5</think><think>{written}", example(place)) is None
    assert Accuracy()(f"<think>{written}</think> it is 5", example(place)) == 0


@pytest.mark.parametrize(
    "completion",
    ["4", r"so \boxed{4}", "<answer>4</answer>", "it is 4.", "so\n#### 4", "so\nAnswer: 4", "<think>5</think>4"],
)
def test_the_lenient_reading_finds_the_answer_wherever_it_stands(completion: str) -> None:
    assert Accuracy()(completion, lenient(example("tags"))) == 1
    assert Accuracy()(completion.replace("4", "3"), lenient(example("tags"))) == 0


def test_the_lenient_reading_tries_the_own_places_first() -> None:
    assert answer_of("<answer>3</answer> = 4 metres", lenient(example("after:="))) == "4 metres"


@pytest.mark.parametrize(
    ("place", "completion", "answers_only", "thinks_too"),
    [
        ("boxed", r"2 + 2 is \boxed{4}.", 1, 0),
        ("boxed", r"<think>\boxed{5}?</think> It is \boxed{4}.", 1, 1),
        ("boxed", r"<think>5?</think> \boxed{5} \boxed{4}.", 0, 0),
        ("boxed", r"<think>\boxed{4}", 0, 0),
        ("after:####", "2 + 2\n#### 4", 1, 0),
        ("after:####", "<think>2 + 2</think>\n#### 4", 1, 1),
        ("after:####", "<think>#### 4</think>\n4", 0, 0),
        ("tags", "<think>2 + 2</think><answer>4</answer>", 0, 1),
        (["tags", "boxed"], "<think>2 + 2</think><answer>4</answer>", 0, 1),
    ],
)
def test_formats_follow_the_place(place: AnswerPlaces, completion: str, answers_only: float, thinks_too: float) -> None:
    assert AnswerFormat()(completion, example(place)) == answers_only
    assert ThinkingFormat()(completion, example(place)) == thinks_too
