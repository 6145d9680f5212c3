import json

import numpy as np
import pytest
from scipy.ndimage import find_objects, label

from registry.replay.drawing import COLOURS
from registry.replay.grounding import Grounding
from registry.testing import check_replay_source

FILL = {"circle": 0.785, "square": 1.0, "triangle": 0.5}  # share of its box that a shape covers


def shapes_in(image):
    """(colour, shape, box) of every shape in a picture, from its pixels alone."""
    pixels = np.asarray(image)
    found = []
    for colour, rgb in COLOURS.items():
        components, _ = label((pixels == rgb).all(axis=-1), structure=np.ones((3, 3)))
        for number, (rows, columns) in enumerate(find_objects(components), start=1):
            fill = (components[rows, columns] == number).mean()
            shape = min(FILL, key=lambda name: abs(FILL[name] - fill))
            found.append((colour, shape, [columns.start, rows.start, columns.stop, rows.stop]))
    return found


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_keeps_the_contract(split):
    check_replay_source(lambda: Grounding(seed=3, split=split))


@pytest.mark.parametrize("image_size", [84, 168, 420])
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_answer_is_the_box_seen_in_the_picture(split, image_size):
    for example in Grounding(split=split, image_size=image_size).take(60):
        (image,) = example.images
        shapes = shapes_in(image)
        assert 2 <= len(shapes) <= 4
        boxes = {f"where is the {colour} {shape}?": box for colour, shape, box in shapes}
        assert len(boxes) == len(shapes), "a colour and shape occurs twice"
        assert example.answer == str(boxes[example.question])
        assert example.box_frame == "file"
        assert example.file_size == image.size == (image_size, image_size)


def test_boxes_lie_on_the_grid_inside_the_picture():
    coordinates = np.array([json.loads(example.answer) for example in Grounding().take(300)])
    assert (coordinates % 4 == 0).all()
    assert coordinates.min() == 0
    assert coordinates.max() == 84


def test_splits_share_no_problem():
    """By chance 2000 and 600 draws from 18 kinds × 966 places would share about 70."""
    train = {(e.question, e.answer) for e in Grounding(seed=0).take(2000)}
    held_out = {(e.question, e.answer) for e in Grounding(seed=1, split="held_out").take(600)}
    assert not train & held_out


def test_the_picture_size_changes_nothing_but_the_scale():
    small, large = Grounding().take(20), Grounding(image_size=168).take(20)
    for one, other in zip(small, large, strict=True):
        assert other.question == one.question
        assert json.loads(other.answer) == [2 * value for value in json.loads(one.answer)]


def test_seeds_differ():
    assert Grounding(seed=0).take(5) != Grounding(seed=1).take(5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 100}, "multiple of 21, not 100"),
        ({"split": "test"}, "held_out, not 'test'"),
        ({"seed": -1}, "not -1"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        Grounding(**arguments)
