"""Differences in text alone, column by column."""

from __future__ import annotations

from registry import replay_sources
from registry.example import Example
from registry.replay.synthetic import Split, SyntheticSource

SMALLEST, LARGEST = 10, 99


@replay_sources.register("subtraction")
class Subtraction(SyntheticSource):
    """Asks for the difference of two numbers of two digits, not negative, with what is borrowed thought aloud; text only.

    ``73-28=?`` is answered ``<think>13-8=5 7-1-2=4</think><answer>45</answer>``. A problem is the pair of operands.

    Args:
        seed: seeds what is invented; >= 0. None: that of the run, and 0 for what is held out.
        split: ``train`` or ``held_out``.
    """

    name = "subtraction"

    def __init__(self, seed: int | None = None, split: Split = "train") -> None:
        super().__init__(seed, split)

    def example(self, position: int) -> Example:
        rng = self.generator(position)
        while True:
            b, a = sorted(rng.integers(SMALLEST, LARGEST + 1, 2).tolist())
            if self.admits(f"{a}-{b}"):
                break
        return Example(
            id=self.identifier(position),
            question=f"{a}-{b}=?",
            answer=str(a - b),
            target=f"<think>{_columns(a, b)}</think><answer>{a - b}</answer>",
        )


def _columns(a: int, b: int) -> str:
    """The differences of the columns from the right, with what is borrowed.

    >>> _columns(73, 28)
    '13-8=5 7-1-2=4'
    >>> _columns(78, 23)
    '8-3=5 7-2=5'
    """
    (tens_a, ones_a), (tens_b, ones_b) = divmod(a, 10), divmod(b, 10)
    if ones_a < ones_b:
        return f"{ones_a + 10}-{ones_b}={ones_a + 10 - ones_b} {tens_a}-1-{tens_b}={tens_a - 1 - tens_b}"
    return f"{ones_a}-{ones_b}={ones_a - ones_b} {tens_a}-{tens_b}={tens_a - tens_b}"
