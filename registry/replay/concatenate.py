"""Sources one after another."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import replace

from registry import replay_sources
from registry.example import Example
from registry.replay.base import ReplaySource
from registry.replay.wrapper import Wrapper


@replay_sources.register("concatenate")
class Concatenate(Wrapper):
    """Joins sources into one: all of the first, then all of the second, and so on, epoch after epoch.

    For a mixed order, wrap it in `@replay.shuffle_buffer()`; for shares of a step, give each source a domain of its own.
    Ids get the number of their source in front: ``1/train/17``.

    Args:
        sources: at least one; all but the last need a length.

    Raises:
        ValueError: no source, or one without length before the last.
    """

    def __init__(self, sources: Sequence[ReplaySource]) -> None:
        super().__init__(sources)
        if not sources:
            raise ValueError("replay.concatenate: sources is empty")

    @property
    def length(self) -> int | None:
        ends = self._ends()
        return ends[-1] if len(ends) == len(self.sources) else None

    def example(self, position: int) -> Example:
        ends = self._ends()
        whole = len(ends) == len(self.sources)
        epoch, index = divmod(position, ends[-1]) if whole else (0, position)
        number = bisect.bisect_right(ends, index)
        start = ends[number - 1] if number else 0
        own = ends[number] - start if whole else 0
        example = self.sources[number].example(epoch * own + index - start)
        return replace(example, id=f"{number}/{example.id}")

    def _ends(self) -> list[int]:
        """Where each source ends, counted from the first; without the last where it has no end."""
        lengths = [source.length for source in self.sources]
        endless = [number for number, length in enumerate(lengths) if length is None]
        if endless and endless[0] < len(lengths) - 1:
            kind = type(self.sources[endless[0]]).__name__
            raise ValueError(
                f"replay.concatenate: source {endless[0]} ({kind}) has no length, so that none after it would have its turn;"
                " limit it: @replay.limit()"
            )
        return list(itertools.accumulate(length for length in lengths if length is not None))
