"""Which of two shapes is larger?"""

from __future__ import annotations

from registry import replay_sources
from registry.example import Example
from registry.replay.drawing import COLOURS, IMAGE_SIZE, SHAPES, draw_shape, ground, pen
from registry.replay.synthetic import Split, SyntheticSource

HALF = IMAGE_SIZE // 2  # one shape in the left half, one in the right
SMALLEST, LARGEST = 12, 38  # pixels along a shape's side
LEAST_DIFFERENCE = 6  # pixels
COLOUR_NAMES = tuple(COLOURS)


@replay_sources.register("comparing")
class Comparing(SyntheticSource):
    """Asks which of two shapes is larger, and takes its colour for an answer.

    ``larger: red or blue?`` is answered ``blue``. The sides of the two differ by at least 6 pixels. A problem is a question
    with the two sizes.

    Args:
        seed: seeds what is invented; >= 0. None: that of the run, and 0 for what is held out.
        split: ``train`` or ``held_out``.
    """

    name = "comparing"

    def __init__(self, seed: int | None = None, split: Split = "train") -> None:
        super().__init__(seed, split)

    def example(self, position: int) -> Example:
        rng = self.generator(position)
        while True:
            pair = [COLOUR_NAMES[i] for i in rng.permutation(len(COLOUR_NAMES))[:2]]
            sizes = rng.integers(SMALLEST, LARGEST + 1, 2).tolist()
            question = f"larger: {pair[0]} or {pair[1]}?"
            if abs(sizes[0] - sizes[1]) >= LEAST_DIFFERENCE and self.admits(f"{question} {sizes}"):
                break

        image = ground(rng)
        draw = pen(image)
        halves = rng.permutation(2).tolist()
        for colour, size, half in zip(pair, sizes, halves, strict=True):
            x = half * HALF + int(rng.integers(0, HALF - size))
            y = int(rng.integers(0, IMAGE_SIZE - size))
            draw_shape(draw, SHAPES[rng.integers(len(SHAPES))], colour, (x, y, x + size, y + size))
        return Example(
            id=self.identifier(position),
            question=question,
            answer=pair[int(sizes[1] > sizes[0])],
            images=(image,),
            file_size=image.size,
        )
