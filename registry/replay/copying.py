"""Say it again: a string of characters, in text alone."""

from __future__ import annotations

import string

from registry import replay_sources
from registry.example import Example
from registry.replay.synthetic import Split, SyntheticSource

CHARACTERS = string.ascii_lowercase + string.digits
SHORTEST, LONGEST = 4, 8


@replay_sources.register("copying")
class Copying(SyntheticSource):
    """Asks to repeat four to eight random characters; text only.

    ``copy xk3f.`` is answered ``xk3f``. A problem is the string.

    Args:
        seed: seeds what is invented; >= 0. None: that of the run, and 0 for what is held out.
        split: ``train`` or ``held_out``.
    """

    name = "copying"

    def __init__(self, seed: int | None = None, split: Split = "train") -> None:
        super().__init__(seed, split)

    def example(self, position: int) -> Example:
        rng = self.generator(position)
        while True:
            picked = rng.integers(len(CHARACTERS), size=rng.integers(SHORTEST, LONGEST + 1)).tolist()
            text = "".join(CHARACTERS[i] for i in picked)
            if self.admits(text):
                break
        return Example(id=self.identifier(position), question=f"copy {text}.", answer=text)
