"""What sources that invent examples have in common: a generator per position, and two splits without overlap."""

from __future__ import annotations

import zlib
from typing import ClassVar, Literal, get_args

import numpy as np

from registry.replay.base import ReplaySource

Split = Literal["train", "held_out"]
SPLITS: tuple[Split, ...] = get_args(Split)
HELD_OUT_ONE_IN = 10


class SyntheticSource(ReplaySource):
    """A source that invents example after example, without end.

    A problem belongs to a split by a hash of its text, whatever the seed: a run with another seed is still never
    trained on what is held out. About one problem in ten is.

    Args:
        seed: seeds what is invented; >= 0. None: that of the run, and 0 for what is held out.
        split: ``train`` or ``held_out``.
    """

    name: ClassVar[str]

    def __init__(self, seed: int | None = None, split: Split = "train") -> None:
        if seed is not None and seed < 0:
            raise ValueError(f"replay.{self.name}: seed must be >= 0, not {seed}")
        super().__init__(seed)
        if split not in SPLITS:
            raise ValueError(f"replay.{self.name}: split must be one of {', '.join(SPLITS)}, not {split!r}")
        self.split: Split = split

    def take_seed(self, seed: int) -> None:
        if not self._seed_is_given:
            self.seed = seed  # as it is: no seed gives a problem of the other split

    @property
    def length(self) -> int | None:
        return None

    def identifier(self, position: int) -> str:
        """The id of the example at a position, e.g. ``grounding/train/17``."""
        return f"{self.name}/{self.split}/{position}"

    def generator(self, position: int) -> np.random.Generator:
        """The random numbers of one position; no other position, split, seed or source draws the same."""
        return np.random.default_rng([zlib.crc32(self.name.encode()), SPLITS.index(self.split), self.seed, position])

    def admits(self, problem: str) -> bool:
        """Whether a problem, written as text, belongs to this split."""
        return is_held_out(problem) == (self.split == "held_out")


def is_held_out(problem: str) -> bool:
    """Whether a problem is kept from training; depends on its text alone."""
    return zlib.crc32(problem.encode()) % HELD_OUT_ONE_IN == 0
