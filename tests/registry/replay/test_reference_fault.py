import pytest

from registry.example import MalformedExample
from registry.replay.reference_fault import check_option


@pytest.mark.parametrize(
    "answer",
    [
        "A",
        "(d)",
        "dog",
        "Dog.",
        "D.",
        "B) dog",
        "7",
        "7.0",
        "The answer is B.",
        "... #### C",
        r"\boxed{B}",
        "Answer: dog",
    ],
)
def test_options_that_are_there_pass(answer: str) -> None:
    assert check_option(answer, ("cat", "dog", "7", "cow")) == answer


@pytest.mark.parametrize("answer", ["E", "(e)", "Z.", "4.0", "3.0", "9", "1", "fish", "True", "E) fish"])
def test_an_option_that_is_not_there_is_malformed(answer: str) -> None:
    with pytest.raises(MalformedExample, match=r"is none of the 4 choices, A to D"):
        check_option(answer, ("cat", "dog", "7", "cow"))


def test_without_choices_everything_passes() -> None:
    assert check_option("E", ()) == "E"
