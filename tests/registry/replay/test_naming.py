import re

import numpy as np
import pytest
from scipy.ndimage import label

from registry.replay.drawing import COLOURS
from registry.replay.naming import Naming
from registry.testing import check_replay_source

COLOUR = re.compile(r"what colour is the (\w+)\?")
SHAPE = re.compile(r"what shape is (\w+)\?")


def shape_of(image, colour):
    """By the share of its bounding box that the one shape of a colour fills: a square 1, a circle π/4, a triangle 1/2."""
    mask = (np.asarray(image) == COLOURS[colour]).all(axis=-1)
    assert label(mask, structure=np.ones((3, 3)))[1] == 1
    rows, columns = np.nonzero(mask)
    filled = mask.sum() / ((np.ptp(rows) + 1) * (np.ptp(columns) + 1))
    return "square" if filled > 0.95 else "circle" if filled > 0.65 else "triangle"


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_keeps_the_contract(split):
    check_replay_source(lambda: Naming(seed=3, split=split))


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_answer_follows_from_the_picture(split):
    asked = set()
    for example in Naming(split=split).take(200):
        (image,) = example.images
        pixels = {tuple(pixel) for row in np.asarray(image).tolist() for pixel in row}
        shapes = {name: shape_of(image, name) for name, rgb in COLOURS.items() if rgb in pixels}
        assert 2 <= len(set(shapes.values())) == len(shapes) <= 3, "a shape or colour twice"
        if match := COLOUR.fullmatch(example.question):
            asked.add("colour")
            assert shapes[example.answer] == match[1]
        else:
            asked.add("shape")
            assert shapes[SHAPE.fullmatch(example.question)[1]] == example.answer
    assert asked == {"colour", "shape"}
