import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.example import Example
from registry.verifiers.text_similarity import TextSimilarity


def score(completion: str, answer: str) -> float:
    return TextSimilarity()(completion, Example(id="1", question="read.", answer=answer))


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("<answer>hello</answer>", 1.0),
        ("<answer> hello </answer>", 1.0),
        ("<answer>hallo</answer>", 0.8),
        ("<answer>hell</answer>", 0.8),
        ("<answer></answer>", 0.0),
        ("<answer>zzzzz</answer>", 0.0),
        ("hello", 0.0),
        ("<answer>" + "x" * 20_000 + "</answer>", 0.0),
    ],
)
def test_by_hand(completion: str, expected: float) -> None:
    assert score(completion, "hello") == pytest.approx(expected)


@given(st.text(max_size=40), st.text(alphabet="abc", min_size=1, max_size=10))
def test_between_0_and_1_whatever_comes(completion: str, answer: str) -> None:
    assert 0 <= score(completion, answer) <= 1
