"""VQA accuracy against its script's arithmetic, written down anew."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.example import Example
from registry.verifiers.vqa_accuracy import VQAAccuracy
from registry.verifiers.vqa_text import vqa_answer, without_punctuation

judge = VQAAccuracy()


def example_of(answers: tuple[object, ...]) -> Example:
    return Example(id="1", question="?", answer="x", metadata={"answers": answers})


def published(answer: str, people: tuple[str, ...]) -> float:
    """Each person in turn is left out: min(matches among the others / 3, 1), averaged."""
    accuracies = []
    for left_out in range(len(people)):
        others = [person for number, person in enumerate(people) if number != left_out]
        accuracies.append(min(1.0, sum(person == answer for person in others) / 3))
    return sum(accuracies) / len(accuracies)


words = st.sampled_from(["yes", "no", "maybe", "red"])


@given(words, st.lists(words, min_size=10, max_size=10).map(tuple))
def test_leaves_each_person_out_in_turn(answer: str, people: tuple[str, ...]) -> None:
    assert judge(f"<answer>{answer}</answer>", example_of(people)) == pytest.approx(published(answer, people))


@pytest.mark.parametrize(("count", "accuracy"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_by_hand(count: int, accuracy: float) -> None:
    """One person: nine others see 1/3. Two: (2 * 1/3 + 8 * 2/3) / 10. Three: (3 * 2/3 + 7) / 10. Four: all see 3."""
    people = ("dog",) * count + ("cat",) * (10 - count)
    assert judge("<answer>dog</answer>", example_of(people)) == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("answer", "plain"),
    [
        ("The Two Dogs", "2 dogs"),
        ("none", "0"),
        ("ten", "10"),
        ("eleven", "eleven"),
        ("dont", "don't"),
        ("couldntve", "couldntve"),  # two apostrophes are one too many
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("yall'd've", "y'all'd've"),
        ("o'clock", "o'clock"),
        ("let's", "let's"),
        ("red-brown", "red brown"),
        ("red - brown", "red brown"),
        ("red, brown", "red brown"),
        ("1,000", "1000"),
        ("1,000-ish", "1000ish"),
        ("3.5", "3.5"),
        ("3.5.", "3.5"),
        ("U.S.", "us"),
        ("is it? yes!", "is it yes"),
        ("a\nb", "b"),
        (" An Apple ", "apple"),
    ],
)
def test_answers_are_normalised_as_published(answer: str, plain: str) -> None:
    assert vqa_answer(answer) == plain


@given(st.text(alphabet="ab1 ,.;-/'?!()", max_size=30))
def test_punctuation_by_the_literal_rule(text: str) -> None:
    expected = text
    for mark in [
        ";",
        "/",
        "[",
        "]",
        '"',
        "{",
        "}",
        "(",
        ")",
        "=",
        "+",
        "\\",
        "_",
        "-",
        ">",
        "<",
        "@",
        "`",
        ",",
        "?",
        "!",
    ]:
        if mark + " " in text or " " + mark in text or re.search(r"(\d)(,)(\d)", text):
            expected = expected.replace(mark, "")
        else:
            expected = expected.replace(mark, " ")
    expected = "".join(c for i, c in enumerate(expected) if c != "." or expected[i + 1 : i + 2].isdigit())
    assert without_punctuation(text) == expected


def test_references_lose_their_punctuation_only_where_people_disagree() -> None:
    assert judge("<answer>t-shirt</answer>", example_of(("t-shirt",) * 9 + ("shirt",))) == 1
    assert judge("<answer>t-shirt</answer>", example_of(("t-shirt",) * 10)) == 0, "as published"


def test_rows_as_published() -> None:
    people = tuple({"answer": "yes", "answer_confidence": "maybe", "answer_id": n} for n in range(10))
    assert judge("<answer>Yes</answer>", example_of(people)) == 1


@pytest.mark.parametrize("answers", [("yes",), (), (1, 2), ("", "")])
def test_answers_that_cannot_be_used(answers: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="example '1'"):
        judge("<answer>yes</answer>", example_of(answers))
