import pickle
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import verifiers
from registry.example import Example
from registry.verifiers.accuracy import Accuracy
from registry.verifiers.base import UNDECIDED

ANIMALS = ("cat", "dog", "3 cm", "none of these")
ROOTS = (r"\frac{\sqrt{2}}{2}", r"\sqrt{2}", "1")


def judged(reference: str, answer: str, choices: tuple[str, ...] = ()) -> float:
    return Accuracy()(f"<answer>{answer}</answer>", Example(id="1", question="?", answer=reference, choices=choices))


@pytest.mark.parametrize(
    ("reference", "right", "wrong"),
    [
        (
            "85",
            [
                "85",
                " 85. ",
                "85.0",
                "+85",
                "$85$",
                r"\boxed{85}",
                "85 apples",
                r"85\text{ cm}",
                "n = 85",
                "$85",
                "the answer is 85",
                "47 + 38 = 85",
                "８５",
                "**85**",
                "She sold 85 clips in total.",
                "85 clips in April and May",
                "$85 per day",
                "85 bolts of fiber",
                "85 metres a week",
            ],
            [
                "86",
                "-85",
                "850",
                "85 or 86",
                "47 + 38",
                "47 + 38 = 84",
                "85 = 47 + 38",
                "170/2",
                r"\sqrt{7225}",
                "85^1",
                "85 85",
                "more than 85 clips",
                "not 85 but more",
                "85 clips and six bolts",
                "85 and a half",
                "the 85th",
                "between 85 and ninety",
                "x is 85 less",
                "85!",
                "",
                "eighty-five",
            ],
        ),
        ("-5", ["-5", "−5", "$-5$", "-5.0"], ["5", "0 - 5"]),
        ("1,250", ["1250", "1,250", "1,250.0"], ["1.250", "1,25"]),
        ("0.5", ["0.50", ".5", "1/2", r"\frac{1}{2}", r"$\dfrac12$", "50%"], ["0.05", "5", "1/3", "0.25 + 0.25"]),
        ("2/3", ["2/3", "4/6", r"\frac{2}{3}"], ["0.67", "3/2", "2/0"]),
        ("40%", ["40%", "40 %", r"40\%", "40", "0.4"], ["4%", "0.04"]),
        ("30°", ["30", "30°", r"30^\circ", "30 degrees"], ["60"]),
        ("5", [r"5\\", "5<br>"], [r"5\\6"]),
        (
            r"0.1\overline{6}",
            ["1/6", r"\frac{1}{6}", r"0.1\dot{6}", r"0.1\bar6", r"0.1\overline{66}", "0.166667"],
            ["0.16", "0.1666", "0.17", r"0.\overline{16}", "1/60"],
        ),
        ("1/7", [r"0.\overline{142857}", r"0.\dot{1}4285\dot{7}"], [r"0.\overline{14}"]),
        (r"2.\overline{3}\%", [r"2.\overline{3}", "7/3"], ["2.3"]),
    ],
)
def test_numbers(reference: str, right: list[str], wrong: list[str]) -> None:
    assert {answer: judged(reference, answer) for answer in right} == dict.fromkeys(right, 1.0)
    assert {answer: judged(reference, answer) for answer in wrong} == dict.fromkeys(wrong, 0.0)


@pytest.mark.parametrize(
    ("reference", "right", "wrong"),
    [
        (
            r"2\sqrt{3}",
            [
                r"\sqrt{12}",
                r"$2\sqrt3$",
                r"2\sqrt{3}.",
                r"**\boxed{\sqrt{12}}**",
                "2√3",
                "sqrt(12)",
                r"it is $\sqrt{12}$",
            ],
            ["2", "3", r"3\sqrt{2}"],
        ),
        ("x^2 + 1", ["1 + x^2", "$x^2+1$", "x²+1"], ["x^2", "2x + 1"]),
        (r"\frac{\pi}{2}", ["pi/2", "π/2", r"$\pi/2$"], ["1.57", "2"]),
        ("(1, 2)", ["(1,2)", "$(1, 2)$", "A(1, 2)", "P = (1, 2)"], ["(2, 1)", "1", "A(2, 1)"]),
        ("A(1, 2)", ["(1,2)", "A(1, 2)"], ["B(1, 2)", "(2, 1)"]),
        ("P(1,2), Q(3,4)", ["(1,2), (3,4)", "Q(3,4), P(1,2)"], ["P(3,4), Q(1,2)", "P(1,2)"]),
        (
            r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
            [r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", r"\begin{pmatrix} 1&2 \\[2pt] 3&4 \end{pmatrix}"],
            [r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}"],
        ),
        (
            r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}",
            [r"\begin{pmatrix}-\frac13\\\frac23\end{pmatrix}"],
            [r"\begin{pmatrix} 1/3 \\ 2/3 \end{pmatrix}"],
        ),
        (r"\begin{cases} x=1 \\ y=2 \end{cases}", ["x=1, y=2", "(1, 2)"], ["x=2, y=1", "1"]),
        ("12\\pi", [r"12\pi \text{ cm}^2", "12π cm²"], ["12", "12 cm²"]),
        (r"\textbf{(B) }12", ["B", "(B)", "12", "(B) 12", r"\textbf{(B)}"], ["C", "13", "(C) 12", "(B) 13"]),
        (r"-\infty", ["negative infinity", "-∞"], ["infinity", "∞", "-5"]),
        (r"\infty", ["infinity", "positive infinity", "+∞"], ["infinitely many", "infinite", r"-\infty"]),
        (r"\varnothing", ["the empty set", "∅", r"\emptyset"], ["0", "empty"]),
        (r"(-\infty, 3]", ["(-infinity, 3]", "(-∞, 3]"], ["(-infinity, 3)"]),
    ],
)
def test_mathematics(reference: str, right: list[str], wrong: list[str]) -> None:
    assert {answer: judged(reference, answer) for answer in right} == dict.fromkeys(right, 1.0)
    assert {answer: judged(reference, answer) for answer in wrong} == dict.fromkeys(wrong, 0.0)


@pytest.mark.parametrize(
    ("reference", "right", "wrong"),
    [
        ("New York", ["new york", "New  York.", r"\text{New York}", '"New York"'], ["York", "New York City"]),
        (
            "3:30 PM",
            ["3:30 pm", r"3:30\text{ p.m.}", "3:30 P.M.", "15:30"],
            ["3:30 am", "3:31 PM", "15:31", "3:30", "3"],
        ),
        (r"7\text{ a.m.}", ["7 AM", "7:00 am"], ["7 pm", "19:00"]),
        ("12:05 am", ["0:05", "12:05 AM"], ["12:05 pm", "12:05"]),
        (
            "72 clips",
            ["She sold 72 clips", "72 clips in April", "She sold 72"],
            ["She sold 72 bolts", "72 bolts in April"],
        ),
        ("12 May 2020", ["12 may 2020"], ["5 June 2020", "2020"]),
        (
            "3 cm",
            ["3cm", "3 cm.", "3", "They are 3 cm of rope in all"],
            ["3 m", "4", "It is 3 m long", "3 cm per hour"],
        ),
        ("B", ["B", "b", "(B)", "B.", "B) dog", r"\boxed{B}"], ["A", "A or B", "dog", "A) B"]),
    ],
)
def test_text(reference: str, right: list[str], wrong: list[str]) -> None:
    assert {answer: judged(reference, answer) for answer in right} == dict.fromkeys(right, 1.0)
    assert {answer: judged(reference, answer) for answer in wrong} == dict.fromkeys(wrong, 0.0)


@pytest.mark.parametrize("reference", ["B", "(B)", "dog", "Dog"])
def test_choices(reference: str) -> None:
    for answer in ("B", "b", "(B)", "B.", "B) dog", "(B) dog", "B: because it barks", "dog", "DOG.", r"$\text{B}$"):
        assert judged(reference, answer, ANIMALS) == 1, answer
    for answer in ("A", "cat", "B) cat", "A) dog", "A, B", "cat dog", "E", "a dog", ""):
        assert judged(reference, answer, ANIMALS) == 0, answer


def test_an_option_may_be_met_by_an_equal_expression() -> None:
    assert judged("A", r"\sqrt{1/2}", ROOTS) == 1
    assert judged("A", r"\sqrt{4/2}", ROOTS) == 0
    assert judged("C", "1.0", ROOTS) == 1
    assert judged("B", "5", ("$5 m$", "$5 km$")) == 0  # math-verify drops units, and would find both equal


def test_options_that_are_letters_themselves() -> None:
    assert judged("c", "C", ("c", "a")) == 1
    assert judged("c", "a", ("c", "a")) == 0


def test_only_the_last_answer_counts() -> None:
    example = Example(id="1", question="?", answer="85")
    judge = Accuracy()
    assert judge("85", example) == 0
    assert judge("<think>85</think>", example) == 0
    assert judge("<think>85</think><answer>84</answer>", example) == 0
    assert judge("<answer>85</answer><answer>84</answer>", example) == 0
    assert judge("<answer>84</answer><answer>85</answer> 84", example) == 1


def test_only_mathematics_is_left_undecided() -> None:
    judge = Accuracy()
    for reference in ("85", "0.5", "2/3", "New York", "B"):
        example = Example(id="1", question="?", answer=reference)
        for answer in ("85", "9^{9^{9^9}}", "9**9**9**9", r"\sqrt{2}", "word"):
            assert judge.shortcut(f"<answer>{answer}</answer>", example) is not UNDECIDED
    expression = Example(id="1", question="?", answer=r"\sqrt{2}")
    assert judge.shortcut("<answer>9**9**9**9</answer>", expression) is UNDECIDED
    assert judge.shortcut("9**9**9**9", expression) == 0


@given(st.text() | st.text(alphabet="0123456789.,/%$\\{}^=()-+ ABCfrac"))
@settings(max_examples=300, deadline=None)
def test_the_shortcut_never_raises_on_babble(text: str) -> None:
    judge = Accuracy()
    for reference, choices in (("85", ()), ("1/2", ()), ("cat", ANIMALS), (r"\sqrt{2}", ()), ("A", ROOTS)):
        decided = judge.shortcut(
            f"<answer>{text}</answer>", Example(id="1", question="?", answer=reference, choices=choices)
        )
        assert decided in (0.0, 1.0, UNDECIDED)


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_integers(reference: int, answer: int) -> None:
    assert judged(str(reference), str(answer)) == float(reference == answer)
    assert judged(f"{reference:,}", str(reference)) == 1


@pytest.mark.parametrize("piece", ["9", "$", "{", "(", "\\frac", "1,", "A.", "\u0301\u0327", " ", "="])
def test_hostile_text_is_decided_at_once(piece: str) -> None:
    start = time.perf_counter()
    for reference in ("85", r"\sqrt{2}", "cat"):
        for length in (900, 100_000):
            text = (piece * length)[:length]
            Accuracy().shortcut(f"<answer>{text}</answer>", Example(id="1", question="?", answer=reference))
    assert time.perf_counter() - start < 1


def test_a_missing_reference_is_an_error() -> None:
    with pytest.raises(ValueError, match="'1' has no reference"):
        judged(" ", "4")


def test_is_found_by_name_and_survives_pickling() -> None:
    judge = pickle.loads(pickle.dumps(verifiers.build("accuracy")))
    assert isinstance(judge, Accuracy)
    assert judge.isolated
