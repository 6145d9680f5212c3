import re

import numpy as np
import pytest

from registry.replay.comparing import LEAST_DIFFERENCE, Comparing
from registry.replay.drawing import COLOURS
from registry.testing import check_replay_source

QUESTION = re.compile(r"larger: (\w+) or (\w+)\?")


def side(image, colour):
    """The longer side of what a picture shows in a colour, in pixels."""
    places = np.nonzero((np.asarray(image) == COLOURS[colour]).all(axis=-1))
    return max(np.ptp(axis) + 1 for axis in places)


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_keeps_the_contract(split):
    check_replay_source(lambda: Comparing(seed=3, split=split))


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_answer_follows_from_the_picture(split):
    firsts = 0
    for example in Comparing(split=split).take(200):
        (image,) = example.images
        first, second = QUESTION.fullmatch(example.question).groups()
        sizes = {colour: side(image, colour) for colour in (first, second)}
        assert abs(sizes[first] - sizes[second]) >= LEAST_DIFFERENCE - 1  # a triangle's tip may be half a pixel
        assert example.answer == max(sizes, key=sizes.get)
        firsts += example.answer == first
    assert 60 < firsts < 140, "the order of the question tells"
