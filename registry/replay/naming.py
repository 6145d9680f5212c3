"""What colour, or what shape? One word about one of several coloured shapes."""

from __future__ import annotations

from registry import replay_sources
from registry.example import Example
from registry.replay.drawing import COLOURS, IMAGE_SIZE, SHAPES, draw_shape, ground, pen
from registry.replay.synthetic import Split, SyntheticSource

CELL = IMAGE_SIZE // 3  # nine cells, one shape in each at most
SMALLEST, LARGEST = 16, 26  # pixels along a shape's side
COLOUR_NAMES = tuple(COLOURS)


@replay_sources.register("naming")
class Naming(SyntheticSource):
    """Asks for the colour of a shape, or for the shape of a colour, in a picture of two or three.

    ``what colour is the circle?`` is answered ``red``, ``what shape is red?`` is answered ``circle``. No colour and no shape
    occurs twice in a picture. A problem is a question, its answer and the cell that the shape is in.

    Args:
        seed: seeds what is invented; >= 0. None: that of the run, and 0 for what is held out.
        split: ``train`` or ``held_out``.
    """

    name = "naming"

    def __init__(self, seed: int | None = None, split: Split = "train") -> None:
        super().__init__(seed, split)

    def example(self, position: int) -> Example:
        rng = self.generator(position)
        while True:
            number = int(rng.integers(2, 4))
            colours = [COLOUR_NAMES[i] for i in rng.permutation(len(COLOUR_NAMES))[:number]]
            shapes = [SHAPES[i] for i in rng.permutation(len(SHAPES))[:number]]
            cells = rng.permutation(9)[:number].tolist()
            if rng.random() < 0.5:
                question, answer = f"what colour is the {shapes[0]}?", colours[0]
            else:
                question, answer = f"what shape is {colours[0]}?", shapes[0]
            if self.admits(f"{question} {answer} {cells[0]}"):
                break

        image = ground(rng)
        draw = pen(image)
        sizes = rng.integers(SMALLEST, LARGEST + 1, number).tolist()
        for colour, shape, cell, size in zip(colours, shapes, cells, sizes, strict=True):
            x, y = (place * CELL + int(rng.integers(0, CELL - size)) for place in (cell % 3, cell // 3))
            draw_shape(draw, shape, colour, (x, y, x + size, y + size))
        return Example(
            id=self.identifier(position),
            question=question,
            answer=answer,
            images=(image,),
            file_size=image.size,
        )
