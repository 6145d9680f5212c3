"""anls, exact_match, token_f1 and relaxed_accuracy against their benchmarks' arithmetic, written down anew."""

import re
import string
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.example import Example
from registry.verifiers.anls import ANLS
from registry.verifiers.exact_match import ExactMatch
from registry.verifiers.relaxed_accuracy import RelaxedAccuracy
from registry.verifiers.token_f1 import TokenF1

EXAMPLE = Example(id="1", question="?", answer="x")


def asked(*references: str) -> Example:
    return replace(EXAMPLE, answer=references[0], metadata={"answers": references})


def tagged(answer: str) -> str:
    return f"<answer>{answer}</answer>"


# ANLS: a table of edit distances by dynamic programming


def edit_distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, last = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y)))
    return row[-1]


def published_anls(answer: str, references: tuple[str, ...]) -> float:
    best = 0.0
    for reference in references:
        a, b = (" ".join(text.strip().lower().split()) for text in (answer, reference))
        length = max(len(a), len(b))
        best = max(best, 1 - edit_distance(a, b) / length if length else 1.0)
    return best if best >= 0.5 else 0.0


text = st.text(alphabet="abAB  1", min_size=1, max_size=8).filter(str.strip)


@given(text, st.lists(text, min_size=1, max_size=3).map(tuple))
def test_anls(answer: str, references: tuple[str, ...]) -> None:
    assert ANLS()(tagged(answer), asked(*references)) == pytest.approx(published_anls(answer, references))


@pytest.mark.parametrize(
    ("answer", "references", "score"),
    [
        ("hello", ("hello",), 1),
        ("HELLO  world", ("hello world",), 1),
        ("helo", ("hello",), 0.8),
        ("ab", ("abcd",), 0.5),  # the threshold itself counts
        ("a", ("abcd",), 0),
        ("abx", ("nothing", "abc"), 2 / 3),
        ("", ("abc",), 0),
        ("  ", ("abc",), 0),
    ],
)
def test_anls_by_hand(answer: str, references: tuple[str, ...], score: float) -> None:
    assert ANLS()(tagged(answer), asked(*references)) == pytest.approx(score)


# SQuAD


def published_normal(text: str) -> str:
    text = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def published_f1(answer: str, reference: str) -> float:
    given_words, right = published_normal(answer).split(), published_normal(reference).split()
    common = Counter(given_words) & Counter(right)
    same = sum(common.values())
    if same == 0:
        return 0.0
    precision, recall = same / len(given_words), same / len(right)
    return 2 * precision * recall / (precision + recall)


phrase = st.lists(st.sampled_from(["the", "cat", "Cat,", "a", "sat", "mat.", "an-", "'s"]), min_size=1, max_size=6).map(
    " ".join
)


@given(phrase, phrase, phrase)
def test_exact_match_and_f1(answer: str, first: str, second: str) -> None:
    example = asked(first, second)
    assert TokenF1()(tagged(answer), example) == pytest.approx(
        max(published_f1(answer, first), published_f1(answer, second))
    )
    exact = published_normal(answer) in (published_normal(first), published_normal(second))
    assert ExactMatch()(tagged(answer), example) == (exact and bool(published_normal(answer)))


@pytest.mark.parametrize(
    ("answer", "f1"),
    [
        ("the cat sat", 1),
        ("cat", 2 / 3),
        ("cat cat", 0.5),
        ("cat sat on a mat", 2 / 3),
        ("dog", 0),
        ("", 0),
        ("the", 0),
    ],
)
def test_f1_by_hand(answer: str, f1: float) -> None:
    assert TokenF1()(tagged(answer), asked("the cat sat")) == pytest.approx(f1)


def test_rows_of_squad_as_published() -> None:
    example = replace(EXAMPLE, metadata={"answers": {"text": ["Bern", "the city of Bern"], "answer_start": [3, 8]}})
    assert ExactMatch()(tagged("City of Bern"), example) == 1


# ChartQA


@pytest.mark.parametrize(
    ("answer", "reference", "reward"),
    [
        ("100", "100", 1),
        ("105", "100", 1),
        ("95", "100", 1),
        ("105.1", "100", 0),
        ("94.9", "100", 0),
        ("-100", "100", 0),
        ("-102", "-100", 1),
        ("0.5", "50%", 1),
        ("50%", "0.5", 1),
        ("50", "50%", 0),
        ("0", "0", 1),
        ("0.0", "0", 0),  # as published: a reference of 0 takes the same text
        ("1,000", "1000", 0),  # as published: no thousands separators
        ("Yes", "yes", 1),
        ("yes.", "yes", 0),
        ("100 cars", "100", 0),
        ("1e2", "100", 1),
        ("nan", "100", 0),
        ("inf", "100", 0),
        ("1_00", "100", 0),
        ("", "100", 0),
        ("1990", "2010", 1),  # as published
        ("100 or 50", "100", 0),
    ],
)
def test_relaxed_accuracy_by_hand(answer: str, reference: str, reward: float) -> None:
    assert RelaxedAccuracy()(tagged(answer), asked(reference)) == reward


@given(st.floats(-1e6, 1e6).map(lambda x: round(x, 4)), st.floats(-1e6, 1e6).map(lambda x: round(x, 4)))
def test_relaxed_accuracy_of_numbers(answer: float, reference: float) -> None:
    if not reference or "e" in f"{answer}{reference}":
        return
    right = abs(answer - reference) / abs(reference) <= 0.05
    assert RelaxedAccuracy()(tagged(str(answer)), asked(str(reference))) == right


def test_relaxed_accuracy_settings() -> None:
    strict = RelaxedAccuracy(exact_years=True)
    assert (strict(tagged("1990"), asked("2010")), strict(tagged("2010"), asked("2010"))) == (0, 1)
    assert strict(tagged("2600"), asked("2500")) == 1, "no year"
    assert RelaxedAccuracy(tolerance=0)(tagged("100.0001"), asked("100")) == 0
    assert RelaxedAccuracy()(tagged("11"), asked("5", "11.2")) == 1, "the best of several references"
    with pytest.raises(ValueError, match=r"relaxed_accuracy.tolerance must be at least 0; it is -1"):
        RelaxedAccuracy(tolerance=-1)


@pytest.mark.parametrize("judge", [ANLS(), ExactMatch(), TokenF1(), RelaxedAccuracy()])
def test_an_example_without_a_reference_is_a_mistake_whatever_the_completion(judge) -> None:  # type: ignore[no-untyped-def]
    for completion in ("babble", tagged("x")):
        with pytest.raises(ValueError, match="example '1' has no reference answer"):
            judge(completion, replace(EXAMPLE, answer=" "))
