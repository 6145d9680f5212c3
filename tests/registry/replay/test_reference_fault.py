import pytest

from registry.example import MalformedExample
from registry.replay.reference_fault import check_option


@pytest.mark.parametrize("answer", ["A", "(d)", "3.0", "dog", "D.", "7"])
def test_options_that_are_there_pass(answer: str) -> None:
    assert check_option(answer, ("cat", "dog", "7", "cow")) == answer


@pytest.mark.parametrize("answer", ["E", "(e)", "Z.", "4.0", "9"])
def test_an_option_that_is_not_there_is_malformed(answer: str) -> None:
    with pytest.raises(MalformedExample, match=r"is none of the 4 choices, A to D"):
        check_option(answer, ("cat", "dog", "7", "cow"))


def test_without_choices_everything_passes() -> None:
    assert check_option("E", ()) == "E"
