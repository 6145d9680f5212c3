"""Count two colours in a picture, then compute with the counts."""

from __future__ import annotations

import operator

from registry import replay_sources
from registry.example import Example
from registry.replay.drawing import COLOURS, IMAGE_SIZE, SHAPES, draw_shape, ground, pen
from registry.replay.synthetic import Split, SyntheticSource

MOST = 4  # shapes of a colour
CELL = IMAGE_SIZE // 3  # nine cells, one shape in each at most: 4 + 4 find room
SMALLEST, LARGEST = 14, 22  # pixels along a shape's side
FORMULAS = ("a*b+a", "a*b+b", "a*b-a", "a*b-b", "a+b+a", "a+b+b")
COLOUR_NAMES = tuple(COLOURS)
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


@replay_sources.register("counting")
class Counting(SyntheticSource):
    """Asks to count the shapes of two colours in a picture and to compute with the counts.

    ``count a=red, b=blue. a*b+a=?`` over three red shapes and two blue ones is answered
    ``<think>a=3 b=2 3*2=6 6+3=9</think><answer>9</answer>``. The question does not tell the counts: each colour has one
    to four shapes. A problem is a question with its counts.

    Args:
        seed: seeds what is invented; >= 0. None: that of the run, and 0 for what is held out.
        split: ``train`` or ``held_out``.
    """

    name = "counting"

    def __init__(self, seed: int | None = None, split: Split = "train") -> None:
        super().__init__(seed, split)

    def example(self, position: int) -> Example:
        rng = self.generator(position)
        while True:
            first, second = (COLOUR_NAMES[i] for i in rng.permutation(len(COLOUR_NAMES))[:2])
            a, b = rng.integers(1, MOST + 1, 2).tolist()
            formula = FORMULAS[rng.integers(len(FORMULAS))]
            question = f"count a={first}, b={second}. {formula}=?"
            if self.admits(f"{question} a={a} b={b}"):
                break

        image = ground(rng)
        draw = pen(image)
        colours = [first] * a + [second] * b
        cells = rng.permutation(9)[: a + b].tolist()
        sizes = rng.integers(SMALLEST, LARGEST + 1, a + b).tolist()
        shapes = rng.integers(len(SHAPES), size=a + b).tolist()
        offsets = rng.random((a + b, 2)).tolist()
        for colour, cell, size, shape, (u, v) in zip(colours, cells, sizes, shapes, offsets, strict=True):
            slack = CELL - 1 - size  # a free pixel between neighbours
            x, y = cell % 3 * CELL + round(u * slack), cell // 3 * CELL + round(v * slack)
            draw_shape(draw, SHAPES[shape], colour, (x, y, x + size, y + size))

        steps, answer = _steps(formula, a, b)
        return Example(
            id=self.identifier(position),
            question=question,
            answer=str(answer),
            images=(image,),
            target=f"<think>a={a} b={b} {steps}</think><answer>{answer}</answer>",
            file_size=image.size,
        )


def _steps(formula: str, a: int, b: int) -> tuple[str, int]:
    """The two steps of a formula, from left to right, and their result.

    >>> _steps("a*b+a", 3, 2)
    ('3*2=6 6+3=9', 9)
    """
    values = {"a": a, "b": b}
    left, first, middle, second, right = list(formula)
    x, y, z = values[left], values[middle], values[right]
    partial = OPERATORS[first](x, y)
    result = OPERATORS[second](partial, z)
    return f"{x}{first}{y}={partial} {partial}{second}{z}={result}", result
