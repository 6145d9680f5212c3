import string
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits

from registry.replay import reading
from registry.replay.reading import Reading
from registry.testing import check_replay_source

LIGHT = 232  # as light as the ground or lighter: no ink


def read(image, templates):
    """Row numbers of the templates [N, height, width] of which a picture shows a strip: wherever one fits best first,
    then its neighbours. No knowledge of how many there are or where they stand."""
    ink = 232.0 - np.minimum(np.asarray(image).min(axis=-1), LIGHT)
    count, height, width = templates.shape
    wanted = (232.0 - np.minimum(templates, LIGHT)).reshape(count, -1)
    rows, columns = np.nonzero(ink)
    best = (np.inf, [])
    for y in range(max(0, rows.max() - height + 1), min(rows.min(), 84 - height) + 1):
        for x in range(max(0, columns.min() - width + 1), columns.min() + 1):
            patches = []
            for left in range(x, columns.max() + 1, width):
                patch = np.zeros((height, width))
                part = ink[y : y + height, left : left + width]
                patch[:, : part.shape[1]] = part
                patches.append(patch.ravel())
            patches = np.stack(patches)
            distances = (patches**2).sum(1)[:, None] + (wanted**2).sum(1) - 2 * patches @ wanted.T
            misfit = distances.min(axis=1).sum()
            if misfit < best[0]:
                best = (misfit, distances.argmin(axis=1).tolist())
    return best[1]


@pytest.fixture(scope="module")
def printed():
    """Every character as PIL prints it, [36, 28, 16]."""
    font = ImageFont.load_default(size=21)
    tiles = [Image.new("L", (16, 28), 255) for _ in range(36)]
    for tile, character in zip(tiles, string.ascii_lowercase + string.digits, strict=True):
        ImageDraw.Draw(tile).text((8, 20), character, fill=20, font=font, anchor="ms")
    return np.stack([np.asarray(tile, dtype=float) for tile in tiles])


@pytest.fixture(scope="module")
def written():
    """All 1797 handwritten digits, [1797, 20, 20], in the order of scikit-learn."""
    small = 255 - (load_digits().images * (255 / 16)).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((20, 20), Image.Resampling.BICUBIC)) for image in small])


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_keeps_the_contract(split):
    check_replay_source(lambda: Reading(seed=3, split=split))


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_print_can_be_read(split, printed):
    for example in Reading(split=split, handwritten=0.0).take(25):
        characters = string.ascii_lowercase + string.digits
        assert "".join(characters[row] for row in read(example.images[0], printed)) == example.answer
        assert 3 <= len(example.answer) <= 5
        assert not example.metadata["handwritten"]


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_handwriting_can_be_read_and_comes_from_the_split(split, written):
    labels = load_digits().target
    for example in Reading(split=split, handwritten=1.0).take(12):
        rows = read(example.images[0], written)
        assert "".join(str(labels[row]) for row in rows) == example.answer
        assert 2 <= len(example.answer) <= 4
        assert {row % 10 == 0 for row in rows} == {split == "held_out"}
        assert example.metadata["handwritten"]


def test_splits_share_no_printed_text():
    """By chance 4000 and 2000 texts, a third of them among 46656 of three characters, would share dozens."""
    train = {example.answer for example in Reading(seed=0, handwritten=0.0).take(4000)}
    held_out = {example.answer for example in Reading(seed=1, split="held_out", handwritten=0.0).take(2000)}
    assert not train & held_out


def test_half_is_handwritten():
    share = np.mean([example.metadata["handwritten"] for example in Reading().take(400)])
    assert 0.4 < share < 0.6  # four standard deviations; the seed is fixed


def test_target_is_the_answer_alone():
    example = Reading().example(0)
    assert example.supervised_target == f"<answer>{example.answer}</answer>"
    assert example.file_size == example.images[0].size == (84, 84)


def test_without_scikit_learn_the_extra_is_named_and_print_still_works(monkeypatch):
    for module in ("sklearn", "sklearn.datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(reading.importlib.util, "find_spec", lambda name: None)
    reading._handwriting.cache_clear()
    with pytest.raises(ValueError, match=r'pip install "recap-rlvr\[quickstart\]"'):
        Reading().check()
    with pytest.raises(ValueError, match=r'pip install "recap-rlvr\[quickstart\]"'):
        Reading(handwritten=1.0).example(0)
    Reading(handwritten=0.0).check()
    assert Reading(handwritten=0.0).example(0).answer


def test_bad_share():
    with pytest.raises(ValueError, match="handwritten must be from 0 to 1, not 2"):
        Reading(handwritten=2)
