"""Sums in text alone, column by column."""

from __future__ import annotations

from registry import replay_sources
from registry.example import Example
from registry.replay.synthetic import Split, SyntheticSource


@replay_sources.register("arithmetic")
class Arithmetic(SyntheticSource):
    """Asks for the sum of two numbers, with the carries thought aloud; text only.

    ``47+38=?`` is answered ``<think>7+8=15 4+3+1=8</think><answer>85</answer>``. A problem is the pair of operands in
    either order.

    Args:
        seed: seeds what is invented; >= 0. None: that of the run, and 0 for what is held out.
        split: ``train`` or ``held_out``.
        digits: digits of each operand, 1 to 9.
    """

    name = "arithmetic"

    def __init__(self, seed: int | None = None, split: Split = "train", digits: int = 2) -> None:
        super().__init__(seed, split)
        if not 1 <= digits <= 9:
            raise ValueError(f"replay.arithmetic: digits must be from 1 to 9, not {digits}")
        self.digits = digits

    def example(self, position: int) -> Example:
        rng = self.generator(position)
        smallest = 10 ** (self.digits - 1) if self.digits > 1 else 0
        while True:
            a, b = rng.integers(smallest, 10**self.digits, 2).tolist()
            if self.admits(f"{min(a, b)}+{max(a, b)}"):
                break
        return Example(
            id=self.identifier(position),
            question=f"{a}+{b}=?",
            answer=str(a + b),
            target=f"<think>{_columns(a, b)}</think><answer>{a + b}</answer>",
        )


def _columns(a: int, b: int) -> str:
    """The sums of the columns from the right, with what is carried.

    >>> _columns(47, 38)
    '7+8=15 4+3+1=8'
    """
    steps, carry = [], 0
    for x, y in zip(reversed(str(a)), reversed(str(b)), strict=True):
        total = int(x) + int(y) + carry
        steps.append(f"{x}+{y}+1={total}" if carry else f"{x}+{y}={total}")
        carry = total // 10
    return " ".join(steps)
