"""Some of the examples of another source: those that a predicate keeps, or those that were not there before."""

from __future__ import annotations

import bisect
import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from registry import replay_sources
from registry.example import Example, MalformedExample
from registry.functions import function_of
from registry.replay.base import ReplaySource
from registry.replay.wrapper import Wrapper

if TYPE_CHECKING:
    from PIL.Image import Image

PATIENCE = 10_000
"""Examples in a row that may be left out of a source without end."""


class Selection(Wrapper):
    """The examples of another source that `keeps` lets through, in its order.

    Looks at one example after another until it has the one that is asked for, and remembers which it kept; every process
    looks at all of them. A malformed row is kept, so that it is met in its turn, skipped and counted.
    """

    name = "selection"

    def __init__(self, source: ReplaySource) -> None:
        super().__init__([source])
        self.source = source
        self._kept: list[int] = []  # positions in the source
        self._looked = 0  # at so many positions
        self._last: tuple[int, Example] | None = None  # the example kept last: it is asked for next

    @abstractmethod
    def keeps(self, example: Example) -> bool:
        """Whether the next example of the source is let through; asked once for each, in order."""

    @property
    def at_hand(self) -> bool:
        return False

    @property
    def epoch(self) -> int:
        """Of the source, which the example that is looked at belongs to; 0 in one without end."""
        return self._looked // (self.source.length or self._looked + 1)

    @property
    def length(self) -> int | None:
        """How many are kept of an epoch; looks at all of it."""
        total = self.source.length
        if total is None:
            return None
        while self._looked < total:
            self._look()
        return bisect.bisect_left(self._kept, total) or self._none_kept()

    def example(self, position: int) -> Example:
        while len(self._kept) <= position:
            self._look()
        if self._last is not None and self._last[0] == self._kept[position]:
            return self._last[1]
        return self.source.example(self._kept[position])

    def occurrence(self, position: int) -> int:
        while len(self._kept) <= position:
            self._look()
        return self.source.occurrence(self._kept[position])  # what the length would tell takes looking at all of it

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"kept": list(self._kept), "looked": self._looked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._kept, self._looked, self._last = list(state["kept"]), state["looked"], None

    def _look(self) -> None:
        patience = self.source.length or PATIENCE
        if self._looked - (self._kept[-1] if self._kept else -1) > patience:
            self._none_kept()
        try:
            example = self.source.example(self._looked)
            if self.keeps(example):
                self._last = (self._looked, example)
                self._kept.append(self._looked)
        except MalformedExample:
            self._kept.append(self._looked)
        self._looked += 1

    def _none_kept(self) -> NoReturn:
        total = self.source.length
        looked = f"{PATIENCE} examples in a row" if total is None else f"all {total} examples"
        raise ValueError(f"replay.{self.name}: of {looked} of its source it keeps none")


@replay_sources.register("filter")
class Filter(Selection):
    """Keeps the examples of another source for which a function of yours is true.

    ```
    replay.filter.source = @replay.jsonl()
    replay.filter.keep = 'mine.py:is_short'      # def is_short(example): return len(example.question) < 500
    ```

    Args:
        source: where the examples come from.
        keep: ``'file.py:function'``, or a function (`@configurable`): `Example` -> bool. It must depend on the example alone.

    Raises:
        ValueError: there is no such function, it fails, or it keeps none.
    """

    name = "filter"

    def __init__(self, source: ReplaySource, keep: str | Callable[[Example], bool]) -> None:
        super().__init__(source)
        self.keep = keep

    def check(self) -> None:
        function_of(self.keep, "replay.filter.keep")
        super().check()

    def keeps(self, example: Example) -> bool:
        try:
            return bool(function_of(self.keep, "replay.filter.keep")(example))
        except MalformedExample:
            raise
        except Exception as error:
            raise ValueError(
                f"replay.filter.keep = {self.keep!r} fails at example {example.id!r}: {type(error).__name__}: {error}"
            ) from error


@replay_sources.register("deduplicate")
class Deduplicate(Selection):
    """Leaves out the examples of another source whose question and pictures were there before.

    Questions are compared without regard to case and white space, pictures pixel by pixel. The first copy in the order of the
    first epoch stays, in every epoch. Some hundred bytes for every question are kept in memory, and in checkpoints.

    Args:
        source: where the examples come from.
    """

    name = "deduplicate"

    def __init__(self, source: ReplaySource) -> None:
        super().__init__(source)
        # question with pictures -> the row that stays, and the epoch that it was last met in
        self._copies: dict[str, tuple[str, int]] = {}

    def keeps(self, example: Example) -> bool:
        # rows may share an id, and a source of one's own need not say where they stand
        row = _digest(f"{example.where} {example.id} {example.answer}")
        key = _digest(" ".join(example.question.casefold().split()), example.images)
        stays, met = self._copies.get(key, (row, -1))
        new = row == stays and met < self.epoch
        if new:
            self._copies[key] = row, self.epoch
        return new

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"copies": {key: list(copy) for key, copy in self._copies.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._copies = {key: (row, epoch) for key, (row, epoch) in state["copies"].items()}


def _digest(text: str, images: Iterable[Image] = ()) -> str:
    digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=8)
    for image in images:
        digest.update(f"{image.mode}{image.size}".encode())
        digest.update(image.tobytes())
    return digest.hexdigest()
