"""Small pictures: coloured shapes on a light, noisy ground."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

IMAGE_SIZE = 84  # pixels; three by three visual tokens of Qwen2.5-VL, 28 pixels each

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels; x2 and y2 are the first column and row outside."""

SHAPES = ("circle", "square", "triangle")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 30),
    "green": (20, 150, 50),
    "blue": (30, 70, 220),
    "yellow": (235, 195, 0),
    "purple": (150, 40, 180),
    "black": (20, 20, 20),
}
DARKEST_GROUND = 232  # of 255: lighter in every channel than any shape is in its darkest


def ground(rng: np.random.Generator, size: int = IMAGE_SIZE) -> Image:
    """An empty RGB picture of size × size pixels, almost white, with noise."""
    from PIL import Image

    return Image.fromarray(rng.integers(DARKEST_GROUND, 256, (size, size, 3), dtype=np.uint8))


def pen(image: Image) -> ImageDraw:
    """Draws on a picture."""
    from PIL import ImageDraw

    return ImageDraw.Draw(image)


def draw_shape(draw: ImageDraw, shape: str, colour: str, box: Box) -> None:
    """Fills a shape of one plain colour that touches all four sides of its box."""
    x1, y1, x2, y2 = box
    right, bottom, fill = x2 - 1, y2 - 1, COLOURS[colour]  # PIL's corners are inside
    if shape == "circle":
        draw.ellipse((x1, y1, right, bottom), fill=fill)
    elif shape == "square":
        draw.rectangle((x1, y1, right, bottom), fill=fill)
    elif shape == "triangle":
        tip_left, tip_right = (x1 + right) // 2, (x1 + right + 1) // 2
        draw.polygon([(x1, bottom), (tip_left, y1), (tip_right, y1), (right, bottom)], fill=fill)
    else:
        raise ValueError(f"no shape {shape!r}; there are {', '.join(SHAPES)}")
