import re

import pytest

from registry.replay.arithmetic import Arithmetic, _columns
from registry.testing import check_replay_source


def operands(example):
    return tuple(int(number) for number in re.fullmatch(r"(\d+)\+(\d+)=\?", example.question).groups())


@pytest.mark.parametrize("split", ["train", "held_out"])
@pytest.mark.parametrize("digits", [1, 2, 9])
def test_keeps_the_contract(split, digits):
    check_replay_source(lambda: Arithmetic(seed=3, split=split, digits=digits))


@pytest.mark.parametrize("split", ["train", "held_out"])
@pytest.mark.parametrize("digits", [1, 2, 3])
def test_answer_is_the_sum_and_the_thinking_leads_to_it(split, digits):
    for example in Arithmetic(split=split, digits=digits).take(300):
        a, b = operands(example)
        assert len(str(a)) == len(str(b)) == digits
        assert int(example.answer) == a + b
        assert example.images == ()

        thinking, answer = re.fullmatch(r"<think>(.*)</think><answer>(\d+)</answer>", example.target).groups()
        assert answer == example.answer
        steps = [step.split("=") for step in thinking.split(" ")]
        assert all(eval(left) == int(right) for left, right in steps)
        last_digits = "".join(right[-1] for _, right in reversed(steps[:-1]))
        assert steps[-1][1] + last_digits == answer


@pytest.mark.parametrize(("digits", "examples"), [(1, 500), (2, 4000)])
def test_splits_share_no_problem_in_either_order(digits, examples):
    train = {tuple(sorted(operands(e))) for e in Arithmetic(seed=0, digits=digits).take(examples)}
    held_out = {tuple(sorted(operands(e))) for e in Arithmetic(seed=1, split="held_out", digits=digits).take(examples)}
    assert not train & held_out
    if digits == 2:
        assert 0.07 < len(held_out) / 4095 < 0.13, "about a tenth of all pairs, nearly all of which were drawn"


def test_by_hand():
    assert _columns(47, 38) == "7+8=15 4+3+1=8"
    assert _columns(12, 34) == "2+4=6 1+3=4"
    assert _columns(95, 88) == "5+8=13 9+8+1=18"


@pytest.mark.parametrize("digits", [0, 10])
def test_bad_digits(digits):
    with pytest.raises(ValueError, match=f"digits must be from 1 to 9, not {digits}"):
        Arithmetic(digits=digits)
