"""Read what is written: printed characters, or digits that people wrote."""

from __future__ import annotations

import importlib.util
import string
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from registry import replay_sources
from registry.example import Example
from registry.replay.drawing import IMAGE_SIZE, ground
from registry.replay.synthetic import HELD_OUT_ONE_IN, Split, SyntheticSource

if TYPE_CHECKING:
    from PIL.Image import Image

CHARACTERS = string.ascii_lowercase + string.digits
FONT_SIZE = 21  # pixels
PRINTED = (28, 16)  # pixels, height and width of a printed character; five fit. One pitch for all: "vv" is not "w"
WRITTEN = (20, 20)  # pixels, height and width of a handwritten digit; four fit
JITTER = 5  # pixels up or down from the middle
MISSING_SKLEARN = (
    'replay.reading: handwritten digits come with scikit-learn, which is missing: pip install "recap-rlvr[quickstart]"\n'
    "  or without handwriting: replay.reading.handwritten = 0.0"
)


@replay_sources.register("reading")
class Reading(SyntheticSource):
    """Asks for the text in a picture: three to five printed characters, or two to four handwritten digits.

    The handwriting is real: scikit-learn's `load_digits`, a copy of the test set of the UCI handwritten digits, 1797
    images of 8 × 8 pixels by 13 people. A tenth of those images, and a tenth of the printed texts, occur in held-out
    examples only; the writers are the same.

    Args:
        seed: seeds what is invented; >= 0. None: that of the run, and 0 for what is held out.
        split: ``train`` or ``held_out``.
        handwritten: the share of examples in handwriting, 0 to 1.
    """

    name = "reading"

    def __init__(self, seed: int | None = None, split: Split = "train", handwritten: float = 0.5) -> None:
        super().__init__(seed, split)
        if not 0 <= handwritten <= 1:
            raise ValueError(f"replay.reading: handwritten must be from 0 to 1, not {handwritten}")
        self.handwritten = handwritten

    def check(self) -> None:
        if self.handwritten > 0 and importlib.util.find_spec("sklearn") is None:
            raise ValueError(MISSING_SKLEARN)

    def example(self, position: int) -> Example:
        rng = self.generator(position)
        handwritten = bool(rng.random() < self.handwritten)
        text, strip = self._write(rng) if handwritten else self._print(rng)
        image = _show(strip, rng)
        return Example(
            id=self.identifier(position),
            question="read the text.",
            answer=text,
            images=(image,),
            file_size=image.size,
            metadata={"handwritten": handwritten},
        )

    def _print(self, rng: np.random.Generator) -> tuple[str, np.ndarray]:
        """Three to five random characters, printed."""
        while True:
            rows = rng.integers(len(CHARACTERS), size=rng.integers(3, 6))
            text = "".join(CHARACTERS[row] for row in rows)
            if self.admits(text):
                return text, np.concatenate(_print_characters()[rows], axis=1)

    def _write(self, rng: np.random.Generator) -> tuple[str, np.ndarray]:
        """Two to four images of handwritten digits in a row."""
        digits, labels = _handwriting(self.split)
        rows = rng.integers(len(digits), size=rng.integers(2, 5))
        return "".join(str(label) for label in labels[rows]), np.concatenate(digits[rows], axis=1)


def _show(strip: np.ndarray, rng: np.random.Generator) -> Image:
    """A strip of text [height, width], dark on white, somewhere near the middle line of a picture."""
    from PIL import Image

    pixels = np.array(ground(rng))
    height, width = strip.shape
    x = int(rng.integers(0, IMAGE_SIZE - width + 1))
    y = (IMAGE_SIZE - height) // 2 + int(rng.integers(-JITTER, JITTER + 1))
    window = pixels[y : y + height, x : x + width]
    np.minimum(window, strip[:, :, None], out=window)
    return Image.fromarray(pixels)


@lru_cache(maxsize=1)
def _print_characters() -> np.ndarray:
    """The characters in PIL's own font, dark on white: [36, 28, 16] of uint8."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=FONT_SIZE)
    height, width = PRINTED
    tiles = []
    for character in CHARACTERS:
        tile = Image.new("L", (width, height), 255)
        ImageDraw.Draw(tile).text((width / 2, height - 8), character, fill=20, font=font, anchor="ms")
        tiles.append(np.asarray(tile))
    return np.stack(tiles)


@lru_cache(maxsize=2)
def _handwriting(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """The digits of a split, dark on white: images [N, 20, 20] of uint8, and labels [N]."""
    from PIL import Image

    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ValueError(MISSING_SKLEARN) from error
    data = load_digits()
    rows = np.arange(len(data.images))
    rows = rows[(rows % HELD_OUT_ONE_IN == 0) == (split == "held_out")]
    small = 255 - (data.images[rows] * (255 / 16)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(digit).resize(WRITTEN, Image.Resampling.BICUBIC)) for digit in small]
    return np.stack(large), data.target[rows]
