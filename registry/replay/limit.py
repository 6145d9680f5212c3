"""The first examples of another source."""

from __future__ import annotations

from registry import replay_sources
from registry.example import Example
from registry.replay.base import ReplaySource
from registry.replay.wrapper import Wrapper


@replay_sources.register("limit")
class Limit(Wrapper):
    """Replays the first examples of another source, in its order, again and again.

    A fixed few at random, in another order every epoch, is `@replay.coreset()`.

    Args:
        source: where the examples come from.
        size: how many, >= 1; all of a source that has no more.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, source: ReplaySource, size: int) -> None:
        super().__init__([source])
        if size < 1:
            raise ValueError(f"replay.limit: size must be at least 1, not {size}")
        self.source = source
        self.size = size

    @property
    def length(self) -> int:
        total = self.source.length
        return self.size if total is None else min(self.size, total)

    def example(self, position: int) -> Example:
        return self.source.example(position % self.length)
