"""The contract of a replay source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from registry.example import Example, MalformedExample
from registry.replay.malformed import Malformed

TRAINED_ON = 0x7247  # apart from whatever else is mixed


class MissingData(ValueError):
    """The settings are fine as far as they can be told, but the files are not on this machine."""


class ReplaySource(ABC):
    """Seedable, resumable supply of examples of one domain.

    A source is addressed by position: 0, 1, 2, ... without end. `example(position)` is a pure function of the source's
    parameters and the position, so several processes can share the work without talking to each other, and where a run
    stood is one integer. Opening files or downloading happens at the first use, not in the constructor, so that
    `recap check` stays quick.

    Attributes:
        seed: seeds the order, and whatever the source invents: its own, or one from that of the run (`take_seed`).
        length: number of distinct examples; None where the source invents them without end.
        position: the position that comes next.
        malformed: what this process has skipped so far, without what only the model could not read: its readers count that.
    """

    seed: int
    position: int
    malformed: Malformed

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None and seed < 0:
            raise ValueError(f"{type(self).__name__}: seed must be >= 0, not {seed}")
        self.seed = seed or 0
        self._seed_is_given = seed is not None
        self.position = 0
        self.malformed = Malformed()

    def take_seed(self, seed: int) -> None:
        """Takes a seed from that of the run, unless it was given its own; asked of what is trained on, before anything is read.

        What is held out keeps its seed: all runs are measured by the same examples.
        """
        if not self._seed_is_given:
            self.seed = training_seed(seed)

    @property
    @abstractmethod
    def length(self) -> int | None: ...

    @property
    def origins(self) -> Sequence[str]:
        """The tables that it reads, files by their whole path; none where it invents its examples."""
        return ()

    @property
    def is_open(self) -> bool:
        """Whether it was opened in this process: the next example costs no more than reading it. See `at_hand`."""
        return True

    @abstractmethod
    def example(self, position: int) -> Example:
        """The example at a position >= 0, the same at every call, which may come from another thread, a step ahead.

        Raises:
            MalformedExample: the row cannot be used; the message names the row and the reason.
            ValueError: the source itself cannot be used (no such file, no such column); the message names the near match.
        """

    @property
    def at_hand(self) -> bool:
        """Whether it can be opened, and its length known, without a download, a copy or a look at every row."""
        return True

    def occurrence(self, position: int) -> int:
        """How often the example at a position was given before it: once per epoch of a finite source.

        Two groups of one example in a step, as of a source that is shorter than its share, get other random numbers.
        """
        return position // self.length if self.length else 0

    def check(self) -> None:
        """Finds what is wrong without loading everything.

        Raises:
            MissingData: the folder where the data should be does not exist.
            ValueError: a setting that cannot work, e.g. a column that the file does not have.
        """

    def take(self, count: int, rank: int = 0, num_processes: int = 1) -> list[Example]:
        """This process's share of the next `count` examples, and moves on by `count`.

        Positions are dealt out in turn: over all ranks the share is the same set, whatever the number of processes. A
        malformed example is skipped and counted, not replaced, so that the ranks stay in step.
        """
        examples = []
        for position in range(self.position, self.position + count):
            if position % num_processes == rank:
                try:
                    example = _checked(self.example(position))
                    examples.append(replace(example, occurrence=self.occurrence(position)))
                except MalformedExample as error:
                    self.malformed.add(error)
        self.position += count
        return examples

    def __iter__(self) -> Iterator[Example]:
        while True:
            yield from self.take(1)

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position, "malformed": self.malformed.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]
        self.malformed.load_state_dict(state["malformed"])


def _checked(example: Example) -> Example:
    """Raises MalformedExample where what should be text is none, as a source of one's own may have it."""
    for name in ("question", "answer", "target"):
        value = getattr(example, name)
        if not isinstance(value, str) and not (name == "target" and value is None):
            reason = f"{name} is of type {type(value).__name__}, not text"
            raise MalformedExample(f"{example.where or f'example {example.id}'}: {reason}", reason)
    return example


def shuffled_row(position: int, length: int, seed: int) -> int:
    """The row of a finite table at `position`: every epoch visits each row once, in an order of its own.

    Uses a seeded permutation computed on the fly (a Feistel network over the next power of four, walked until it lands
    inside the table), so that an epoch over a billion rows costs no memory.

    Returns: an integer in [0, length).   Raises: ValueError: an empty table.
    """
    if length <= 0:
        raise ValueError("the source is empty")
    epoch, index = divmod(position, length)
    half_bits = max(1, ((length - 1).bit_length() + 1) // 2)
    mask = (1 << half_bits) - 1
    while True:
        left, right = index >> half_bits, index & mask
        for round_number in range(4):
            left, right = right, left ^ (_mix(right, seed, epoch, round_number) & mask)
        index = (left << half_bits) | right
        if index < length:
            return index


def training_seed(seed: int) -> int:
    """The seed of what is trained on in a run with this seed, in [0, 2^31): not that seed itself.

    A source that invents its examples and knows no splits gives the same ones for the same seed. What is held out has 0, or
    a small number that a person chose; a run with that very seed would be trained on all of it.
    """
    return _mix(seed, TRAINED_ON) >> 33


def _mix(value: int, *keys: int) -> int:
    """A 64-bit integer hash (splitmix64's finaliser) of a value and its keys."""
    for key in keys:
        value = (value ^ (key * 0x9E3779B97F4A7C15)) & 0xFFFFFFFFFFFFFFFF
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        value ^= value >> 31
    return value
