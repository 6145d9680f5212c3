"""A prompt that stands in for those of the data, where a model is tried and none of them is at hand."""

from __future__ import annotations

import numpy as np
from PIL import Image

from registry.example import Example

TEXT = (
    "What is 17 + 25? First 17 + 20 = 37, then 37 + 5 = 42. The quick brown fox jumps over the lazy dog, and 3 of 4"
    " red squares lie left of the blue circle at [12, 40, 96, 128]."
)
SIDE = 112  # pixels: a whole number of the patches of every family, and small


def stand_in(*, picture: bool) -> Example:
    """An example of some 80 tokens, and those of a small picture where it is to have one."""
    return Example(id="stand-in", question=TEXT, answer="", images=(_picture(),) if picture else ())


def _picture() -> Image.Image:
    ramp = np.linspace(0, 255, SIDE, dtype=np.uint8)
    red, green = np.meshgrid(ramp, ramp)
    return Image.fromarray(np.stack([red, green, red ^ green], axis=-1))
