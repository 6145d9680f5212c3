import re

import numpy as np
import pytest
from scipy.ndimage import label

from registry.replay.counting import Counting
from registry.replay.drawing import COLOURS
from registry.testing import check_replay_source

QUESTION = re.compile(r"count a=(\w+), b=(\w+)\. ([ab+*-]+)=\?")
TARGET = re.compile(r"<think>a=(\d) b=(\d) (\S+)=(\d+) (\S+)=(\d+)</think><answer>(\d+)</answer>")


def count(image, colour):
    """How many shapes of a colour a picture shows, from its pixels alone."""
    return label((np.asarray(image) == COLOURS[colour]).all(axis=-1), structure=np.ones((3, 3)))[1]


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_keeps_the_contract(split):
    check_replay_source(lambda: Counting(seed=3, split=split))


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_answer_follows_from_the_picture(split):
    for example in Counting(split=split).take(200):
        (image,) = example.images
        first, second, formula = QUESTION.fullmatch(example.question).groups()
        counts = {colour: count(image, colour) for colour in COLOURS}
        a, b = counts[first], counts[second]
        assert 1 <= a <= 4
        assert 1 <= b <= 4
        assert sum(counts.values()) == a + b, "a third colour"
        assert int(example.answer) == eval(formula, {"a": a, "b": b})

        said_a, said_b, step, partial, last, result, answer = TARGET.fullmatch(example.target).groups()
        assert (int(said_a), int(said_b)) == (a, b)
        assert eval(step) == int(partial)
        assert eval(last) == int(result)
        assert result == answer == example.answer


def test_the_question_does_not_tell_the_answer():
    """400 examples over 180 questions with 16 pairs of counts each: that all of a question agree has no chance."""
    answers = {}
    for example in Counting().take(400):
        answers.setdefault(example.question, set()).add(example.answer)
    assert max(len(found) for found in answers.values()) > 2


def test_splits_share_no_problem():
    """By chance 3000 and 500 draws from 2880 problems would share hundreds."""

    def problems(source, number):
        return {(example.question, example.target) for example in source.take(number)}

    assert not problems(Counting(seed=0), 3000) & problems(Counting(seed=1, split="held_out"), 500)


def test_short():
    for example in Counting().take(200):
        assert len(example.question) < 40
        assert len(example.target) < 70
