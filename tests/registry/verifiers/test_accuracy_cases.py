"""`accuracy` on files of cases, and under changes of spelling and value."""

import json
import re
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.example import Example
from registry.verifiers.accuracy import Accuracy
from registry.verifiers.agreement import agree
from registry.verifiers.spelling import core

FILES = sorted((Path(__file__).parent / "data").glob("accuracy*.jsonl"))
NUMBERS = st.integers(-(10**7), 10**7)


def judged(reference: str, answer: str, choices: tuple[str, ...] = ()) -> float:
    return Accuracy()(f"<answer>{answer}</answer>", Example(id="1", question="?", answer=reference, choices=choices))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_cases(file: Path) -> None:
    cases = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(cases) > 50
    for case in cases:
        reward = judged(case["reference"], case["answer"], tuple(case.get("choices", ())))
        assert reward == case["reward"], case


def spellings(value: Fraction) -> list[str]:
    """The same number, as people write it."""
    top, bottom = value.numerator, value.denominator
    sign, size = "-" if top < 0 else "", abs(top)
    if bottom == 1:
        latex = f"{top:,}".replace(",", "{,}")
        plain = [str(top), f"{top:,}", latex, f"{top}.0", f"({top})", f"{top} cm", f"x = {top}", rf"\boxed{{{top}}}"]
        return [*plain, f"${top}$", f"The answer is {top}.", rf"{top}\text{{ m}}", rf"{sign}{size}\times10^0"]
    quotient = [f"{top}/{bottom}", rf"\frac{{{top}}}{{{bottom}}}", rf"{sign}\dfrac{{{size}}}{{{bottom}}}"]
    whole, rest = divmod(size, bottom)
    mixed = [f"{sign}{whole} {rest}/{bottom}", rf"{sign}{whole}\frac{{{rest}}}{{{bottom}}}"] if whole else []
    return [*quotient, *mixed, f"$x = {top}/{bottom}$", f"so it is {top}/{bottom}"]


@given(NUMBERS, st.integers(1, 50), st.data())
@settings(max_examples=150, deadline=None)
def test_every_spelling_of_a_number_meets_every_other_and_no_other_number(
    top: int, bottom: int, data: st.DataObject
) -> None:
    value = Fraction(top, bottom)
    reference, answer = data.draw(st.tuples(*[st.sampled_from(spellings(value))] * 2))
    if ("cm" in reference and "m}" in answer) or ("m}" in reference and "cm" in answer):
        answer = str(value)
    assert judged(reference, answer) == 1
    assert judged(answer, reference) == 1
    nudge = data.draw(st.sampled_from([Fraction(1), Fraction(-1, 7), Fraction(1, 1000), -2 * value, 9 * value]))
    if nudge:
        other = data.draw(st.sampled_from(spellings(value + nudge)))
        assert judged(reference, other) == 0


@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_an_expression_meets_its_equals_and_none_that_was_changed(a: int, b: int, c: int) -> None:
    reference = rf"{a}\sqrt{{{b}}} + {c}x"
    assert agree(rf"{c}x + \sqrt{{{a * a * b}}}", reference)
    assert agree(rf"$\sqrt{{{b}}}\cdot{a} + {2 * c}x/2$".replace("$", ""), reference)
    for changed in (rf"{a}\sqrt{{{b}}} - {c}x", rf"{a + 1}\sqrt{{{b}}} + {c}x", rf"{a}\sqrt{{{b + 1}}} + {c}x"):
        assert not agree(changed, reference)
    for changed in (rf"{a}\sqrt{{{b}}} + {c}y", rf"{a}\sqrt{{{b}}} + {c}x + 10^{{-20}}", rf"{a}\sqrt{{{b}}} + {c}X"):
        assert not agree(changed, reference)


@given(st.lists(NUMBERS, min_size=2, max_size=5, unique=True), st.randoms())
@settings(max_examples=50, deadline=None)
def test_lists_are_met_in_any_order_and_points_in_theirs(values: list[int], chance: object) -> None:
    turned = [*values[1:], values[0]]
    assert judged(", ".join(map(str, values)), " and ".join(map(str, turned))) == 1
    assert judged(rf"\{{{', '.join(map(str, values))}\}}", ", ".join(map(str, turned))) == 1
    assert judged(f"({', '.join(map(str, values))})", f"({', '.join(map(str, turned))})") == 0
    assert judged(", ".join(map(str, values)), ", ".join(map(str, values[:-1]))) == 0


def test_several_answers_of_a_row_are_as_right_as_the_first() -> None:
    example = Example(id="1", question="Who?", answer="USA", metadata={"answers": ["USA", "United States", "3"]})
    for answer in ("usa", "United States.", "3.0"):
        assert Accuracy()(f"<answer>{answer}</answer>", example) == 1
    assert Accuracy()("<answer>UK</answer>", example) == 0
    assert Accuracy()("<answer>USA, United States</answer>", example) == 0


HOSTILE = [
    "9^{9^{9^{9}}}",
    "9**9**9**9",
    "10^{999999999}",
    "1e999999",
    "9" * 900,
    "100000!",
    "9!!!!!!",
    r"\frac{" * 300 + "1" + "}{2}" * 300,
    "{" * 900,
    "(" * 450 + "1" + ")" * 450,
    r"\sqrt{" * 200 + "2" + "}" * 200,
    r"\boxed{" * 150,
    r"\left(" * 150,
    "$" * 900,
    "1," * 450,
    "a" * 900,
    "x=" * 450,
    "inf",
    "nan",
    r"\infty",
    "\ud800",
    "\0",
    "\u202e5\u202c",
    r"\sum_{n=1}^{10^{99}} n",
    r"\int_0^{9^{99}} x^{x^x} dx",
    r"\binom{99999999}{5555555}",
    " or ".join(map(str, range(200))),
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_are_refused_quickly(text: str) -> None:
    start = time.perf_counter()
    for reference in ("5", r"\sqrt{2}", "1, 2, 3"):
        assert judged(reference, text) == 0
    assert time.perf_counter() - start < 20  # without limits some would take for ever


def test_a_sentence_with_several_answers_has_none() -> None:
    assert core(r"\boxed{3}, or with some other way of counting them all, perhaps \boxed{4}") is None
    for answer in ("3 or 5", "3, 5", r"\boxed{3} \boxed{5}", "It is 3. It is 5.", "A: 3, B: 5", "3 5", r"$3$ or $5$"):
        assert judged("5", answer) == 0
        assert judged("3", answer) == 0


def test_the_page_on_rewards_says_what_is_so() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "rewards.md").read_text(encoding="utf-8")
    table = page.split("| reference | right | wrong |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(table) > 8
    for line in table:
        reference, right, wrong = (re.findall(r"`([^`]+)`", cell) for cell in line.strip("| ").split(" | "))
        for answers, reward in ((right, 1), (wrong, 0)):
            for answer in answers:
                assert judged(reference[0], answer, tuple(reference[1:])) == reward, (reference, answer)
