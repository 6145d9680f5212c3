"""Where is it? The box of one coloured shape among several."""

from __future__ import annotations

import numpy as np

from registry import replay_sources
from registry.example import Example
from registry.replay.drawing import COLOURS, IMAGE_SIZE, SHAPES, Box, draw_shape, ground, pen
from registry.replay.synthetic import Split, SyntheticSource

GRID = 21  # cells along a side; 4 pixels each at 84, so that a coordinate takes one of 22 values
SMALLEST, LARGEST = 5, 8  # cells along a shape's side
TRIES = 20  # to find room for one more shape before doing without it
KINDS = [(colour, shape) for colour in COLOURS for shape in SHAPES]


@replay_sources.register("grounding")
class Grounding(SyntheticSource):
    """Asks for the box of one of two to four coloured shapes in a small picture.

    No colour and shape occurs twice in a picture, and shapes do not touch. The answer is ``[x1, y1, x2, y2]`` in pixels
    of the picture, x2 and y2 just outside the shape. A problem is a kind of shape in its place, so held-out examples
    show kinds where training never asked for them.

    Args:
        seed: seeds what is invented; >= 0. None: that of the run, and 0 for what is held out.
        split: ``train`` or ``held_out``.
        image_size: pixels along a side, a multiple of 21; boxes lie on a grid of image_size / 21 pixels.
    """

    name = "grounding"

    def __init__(self, seed: int | None = None, split: Split = "train", image_size: int = IMAGE_SIZE) -> None:
        super().__init__(seed, split)
        if image_size <= 0 or image_size % GRID:
            raise ValueError(f"replay.grounding: image_size must be a positive multiple of {GRID}, not {image_size}")
        self.image_size = image_size

    def example(self, position: int) -> Example:
        rng = self.generator(position)
        kinds = [KINDS[i] for i in rng.permutation(len(KINDS))[: rng.integers(2, 5)]]
        question = f"where is the {' '.join(kinds[0])}?"
        cells = [_place(rng)]
        while not self.admits(f"{question} {cells[0]}"):
            cells[0] = _place(rng)
        for _ in kinds[1:]:
            _place_beside(rng, cells)

        unit = self.image_size // GRID
        boxes = [(x1 * unit, y1 * unit, x2 * unit, y2 * unit) for x1, y1, x2, y2 in cells]
        image = ground(rng, self.image_size)
        draw = pen(image)
        for (colour, shape), box in zip(kinds, boxes, strict=False):
            draw_shape(draw, shape, colour, box)
        return Example(
            id=self.identifier(position),
            question=question,
            answer=str(list(boxes[0])),
            images=(image,),
            box_frame="file",
            file_size=(self.image_size, self.image_size),
        )


def _place(rng: np.random.Generator) -> Box:
    """A square box somewhere on the grid, in cells."""
    size = int(rng.integers(SMALLEST, LARGEST + 1))
    x, y = rng.integers(0, GRID - size + 1, 2).tolist()
    return x, y, x + size, y + size


def _place_beside(rng: np.random.Generator, placed: list[Box]) -> None:
    """Adds a box with a cell's distance to the others; at least the second always finds room."""
    tries = 0
    while tries < TRIES or len(placed) < 2:
        tries += 1
        x1, y1, x2, y2 = box = _place(rng)
        if all(x2 < left or right < x1 or y2 < top or bottom < y1 for left, top, right, bottom in placed):
            placed.append(box)
            return
