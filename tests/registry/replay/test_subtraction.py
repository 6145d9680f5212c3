import re

import pytest

from registry.replay.subtraction import Subtraction
from registry.testing import check_replay_source

TARGET = re.compile(r"<think>(\S+)=(\d) (\S+)=(\d)</think><answer>(\d+)</answer>")


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_keeps_the_contract(split):
    check_replay_source(lambda: Subtraction(seed=3, split=split))


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_question_thinking_and_answer_agree(split):
    for example in Subtraction(split=split).take(300):
        a, b = map(int, re.fullmatch(r"(\d\d)-(\d\d)=\?", example.question).groups())
        assert int(example.answer) == a - b >= 0
        ones, unit, tens, ten, answer = TARGET.fullmatch(example.target).groups()
        assert (eval(ones), eval(tens)) == (int(unit), int(ten))
        assert int(answer) == a - b == 10 * int(ten) + int(unit)


def test_splits_share_no_problem():
    """By chance 2000 and 500 draws from 4095 problems would share hundreds."""
    held_out = {example.question for example in Subtraction(split="held_out").take(500)}
    assert not held_out & {example.question for example in Subtraction(seed=1).take(2000)}
