"""VQA accuracy against its script's arithmetic, written down anew."""

import re

import pytest
from hypothesis import assume, given
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


VERBATIM = (
    *("coca-cola", "7-up", "12/25/2007", "dr. pepper", "www.google.com", "3,000", "two", "the times", "St. Louis"),
    *("Nokia", "n/a", "(800) 555-1212", "a", "The", "none", "don't", "U.S.A.", "$3.50", "10:10 am", "red/white, blue"),
    *("McDonald's", "50%", "a/the", "is it?", "?"),
)


@pytest.mark.parametrize("people", [10, 9])
@pytest.mark.parametrize("reference", VERBATIM)
def test_a_right_answer_word_for_word_is_right(reference: str, people: int) -> None:
    answers = (reference,) * people + ("something else",) * (10 - people)
    assert judge(f"<answer>{reference}</answer>", example_of(answers)) == 1


@pytest.mark.parametrize("given_answer", ["T-Shirt", "t shirt", "the t-shirt."])
@pytest.mark.parametrize("reference", ["t-shirt", "T-shirt", "t shirt"])
def test_another_spelling_of_the_reference_is_right(given_answer: str, reference: str) -> None:
    assert judge(f"<answer>{given_answer}</answer>", example_of((reference,) * 10)) == 1


@pytest.mark.parametrize("answer", ["the", "an", "?", "-"])
def test_an_answer_of_nothing_is_not_that_of_an_article(answer: str) -> None:
    assert judge(f"<answer>{answer}</answer>", example_of(("a",) * 10)) == 0


texts = st.text(alphabet="abtwo15 ,.;-/'?!()THEs", max_size=12) | st.sampled_from(
    ["two", "dont", "somebody'd", "the a"]
)


@given(texts)
def test_what_is_normalised_stays(text: str) -> None:
    assert vqa_answer(vqa_answer(text)) == vqa_answer(text)


@given(texts, st.lists(texts, min_size=1, max_size=3), st.data())
def test_processed_annotations_score_as_in_the_script_of_vqa(answer: str, pool: list[str], data: st.DataObject) -> None:
    """The script takes the punctuation of references, where people disagree; else it leaves them alone."""
    processed = [text for text in map(vqa_answer, [*pool, answer]) if text == without_punctuation(text) != ""]
    assume(answer.strip() and processed)
    people = data.draw(st.lists(st.sampled_from(processed), min_size=10, max_size=10).map(tuple))
    references = people if len(set(people)) == 1 else tuple(map(without_punctuation, people))
    accuracy = published(vqa_answer(answer), references)
    assert judge(f"<answer>{answer}</answer>", example_of(people)) == pytest.approx(accuracy)


def test_rows_as_published() -> None:
    people = tuple({"answer": "yes", "answer_confidence": "maybe", "answer_id": n} for n in range(10))
    assert judge("<answer>Yes</answer>", example_of(people)) == 1


@pytest.mark.parametrize("answers", [("yes",), (), (1, 2), ("", "")])
def test_answers_that_cannot_be_used(answers: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="example '1'"):
        judge("<answer>yes</answer>", example_of(answers))
