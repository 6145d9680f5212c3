import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import verifiers
from registry.example import Example
from registry.verifiers.thinking_format import ThinkingFormat

EXAMPLE = Example(id="1", question="?", answer="4")
PIECES = st.lists(st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", " ", "\n", "x"]), max_size=10)


@pytest.mark.parametrize(
    ("completion", "strict", "published"),
    [
        ("<think>a</think><answer>b</answer>", 1, 1),
        ("<think>a\nb</think> \n\n <answer>b</answer>", 1, 1),
        ("\n<think>a</think><answer>b</answer> ", 1, 1),
        ("<think></think><answer></answer>", 1, 1),
        ("<think>a<think>b</think></think><answer>c</answer>", 0, 1),
        ("<think>a</think><answer>b</answer><think>c</think><answer>d</answer>", 0, 1),
        ("<think>a</think><answer>b</answer><answer>c</answer>", 0, 1),
        ("<think>a</think>so<answer>b</answer>", 0, 0),
        ("<answer>b</answer><think>a</think>", 0, 0),
        ("so <think>a</think><answer>b</answer>", 0, 0),
        ("<think>a</think><answer>b</answer>!", 0, 0),
        ("<think>a</think>", 0, 0),
        ("<answer>b</answer>", 0, 0),
        ("<think>a<answer>b</answer></think>", 0, 0),
        ("", 0, 0),
    ],
)
def test_pinned(completion: str, strict: float, published: float) -> None:
    assert ThinkingFormat()(completion, EXAMPLE) == strict
    assert ThinkingFormat(strict=False)(completion, EXAMPLE) == published


@given(PIECES)
def test_what_is_strictly_right_is_right_as_published(pieces: list[str]) -> None:
    completion = "".join(pieces)
    assert ThinkingFormat()(completion, EXAMPLE) <= ThinkingFormat(strict=False)(completion, EXAMPLE)


def test_is_found_by_name_and_survives_pickling() -> None:
    judge = pickle.loads(pickle.dumps(verifiers.build("thinking_format", strict=False)))
    assert isinstance(judge, ThinkingFormat)
    assert judge.strict is False
