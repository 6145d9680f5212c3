import pytest

from registry.example import Example
from registry.verifiers.base import UNDECIDED
from registry.verifiers.regex_match import RegexMatch

EXAMPLE = Example(id="1", question="?", answer="x")


@pytest.mark.parametrize(
    ("settings", "answer", "reward"),
    [
        ({}, "12 pears", 1),
        ({}, " 12 pears\n", 1),
        ({}, "12 Pears", 0),
        ({"ignore_case": True}, "12 PEARS", 1),
        ({}, "it is 12 pears", 0),
        ({"whole": False}, "it is 12 pears", 1),
        ({}, "", 0),
    ],
)
def test_matches(settings: dict[str, bool], answer: str, reward: float) -> None:
    judge = RegexMatch(r"\d+ pears", **settings)  # type: ignore[arg-type]
    assert judge(f"<answer>{answer}</answer>", EXAMPLE) == reward
    assert judge.shortcut(f"<answer>{answer}</answer>", EXAMPLE) == reward


def test_an_empty_answer_earns_nothing_whatever_the_pattern() -> None:
    assert RegexMatch(".*")("<answer></answer>", EXAMPLE) == RegexMatch(".*")("", EXAMPLE) == 0


def test_the_worst_case_of_a_pattern_is_stopped() -> None:
    judge = RegexMatch(r"(a|aa|b?a)+(a+)+$", timeout_s=0.2)
    completion = f"<answer>{'a' * 5000}!</answer>"
    assert judge.shortcut(completion, EXAMPLE) is UNDECIDED
    assert judge(completion, EXAMPLE) == 0  # without its limit it would take longer than the universe has been there


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pattern": "(a"}, r"regex_match.pattern '\(a' is no regular expression: missing"),
        ({"pattern": "a", "timeout_s": 0}, "regex_match.timeout_s must be greater than 0; it is 0"),
    ],
)
def test_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RegexMatch(**settings)  # type: ignore[arg-type]
