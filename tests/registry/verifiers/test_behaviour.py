"""Verifiers of formats and behaviour: what they pay for, and the ways around them that do not pay."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.example import Example
from registry.verifiers.brevity import Brevity
from registry.verifiers.no_repetition import NoRepetition
from registry.verifiers.tag_order import TagOrder
from registry.verifiers.thinking_length import ThinkingLength
from registry.verifiers.words import words_of

EXAMPLE = Example(id="1", question="2 + 2?", answer="4")


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("<a>x</a><b>y</b>", 1),
        (" <a>x</a>\n\n<b>y</b> ", 1),
        ("<b>y</b><a>x</a>", 0),
        ("<a>x<b>y</b></a>", 0),
        ("<a>x</a>", 0),
        ("<a></a><b>y</b>", 0),  # nothing in it
        ("<a>x</a><b> </b>", 0),
        ("<a>x</a><b>y</b><b>z</b>", 0),
        ("<a>x</a> so <b>y</b>", 0),
        ("<a>x</a><b>y</b>.", 0),
        ("<a>x<b>y</b>", 0),
        ("", 0),
    ],
)
def test_tag_order(completion: str, reward: float) -> None:
    assert TagOrder(["a", "b"])(completion, EXAMPLE) == reward


def test_tag_order_with_text_outside() -> None:
    judge = TagOrder(["a", "b"], outside=True)
    assert judge("so <a>x</a> and <b>y</b>.", EXAMPLE) == 1
    assert judge("<b>y</b><a>x</a>", EXAMPLE) == 0


def thought(words: int) -> str:
    return f"<think>{' '.join(f'w{n}' for n in range(words))}</think><answer>4</answer>"


@pytest.mark.parametrize(
    ("words", "reward"), [(0, 0), (5, 0.5), (10, 1), (20, 1), (22, 0.8), (25, 0.5), (30, 0), (40, 0)]
)
def test_thinking_length(words: int, reward: float) -> None:
    assert ThinkingLength(10, 20, margin=10)(thought(words), EXAMPLE) == pytest.approx(reward)


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("<think>" + "so " * 50 + "</think>4", 0.1),  # one word over and over is no thought
        ("so it is four, because two and two are four, isn't it", 0),  # nothing was thought
        ("<think>it does not end", 0),
        ("one two three four five six seven eight nine ten</think>4", 1),  # the template opened the tag
    ],
)
def test_thinking_length_cannot_be_feigned(completion: str, reward: float) -> None:
    assert ThinkingLength(10)(completion, EXAMPLE) == pytest.approx(reward)


@given(st.integers(0, 60))
def test_brevity_falls_in_a_straight_line(words: int) -> None:
    completion = "w " * words + "<answer>4</answer>"
    expected = min(1.0, max(0.0, (10 + 20 - (words + 3)) / 20))
    assert Brevity(at_most=10, margin=20)(completion, EXAMPLE) == pytest.approx(expected)


def test_saying_nothing_is_no_brevity() -> None:
    for completion in ("", " ", "4", "<answer></answer>", "<answer> </answer>"):
        assert Brevity()(completion, EXAMPLE) == 0


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 4))
def test_no_repetition_is_the_share_of_different_ngrams(words: list[str], ngram: int) -> None:
    grams = [tuple(words[i : i + ngram]) for i in range(len(words) - ngram + 1)]
    expected = len(set(grams)) / len(grams) if grams else float(bool(words))
    assert NoRepetition(ngram)(" ".join(words), EXAMPLE) == pytest.approx(expected)


@settings(deadline=None)  # the first call imports trl
@given(st.lists(st.sampled_from(["one", "two", "three"]), min_size=3, max_size=30))
def test_no_repetition_is_the_penalty_of_trl_plus_one(words: list[str]) -> None:
    rewards = pytest.importorskip("trl.rewards.other_rewards")
    numbers = [["one", "two", "three"].index(word) for word in words]
    penalty = rewards.get_repetition_penalty_reward(ngram_size=3, max_penalty=-1.0)([numbers])[0]
    assert NoRepetition(3)(" ".join(words), EXAMPLE) == pytest.approx(1 + penalty)


def test_loops_without_spaces_are_loops() -> None:
    assert NoRepetition()("你好" * 500, EXAMPLE) < 0.01
    assert NoRepetition()("ha" * 3000, EXAMPLE) < 0.05
    assert words_of("你好 a_b") == ["你", "好", "a_b"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TagOrder([]), "tag_order.tags must be a list of different names"),
        (lambda: TagOrder("think"), "tag_order.tags must be a list"),
        (lambda: TagOrder(["a", "a"]), "tag_order.tags must be a list of different names"),
        (lambda: TagOrder(["<a>"]), "names of tags; it is"),
        (lambda: ThinkingLength(5, 4), "thinking_length: 0 <= at_least <= at_most; they are 5 and 4"),
        (lambda: ThinkingLength(margin=0), "thinking_length.margin must be at least 1; it is 0"),
        (lambda: Brevity(0), "brevity: at_most and margin must be at least 1; they are 0 and 100"),
        (lambda: NoRepetition(0), "no_repetition.ngram must be at least 1; it is 0"),
    ],
)
def test_settings_out_of_range(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
