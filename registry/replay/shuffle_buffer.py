"""Another source, shuffled within windows."""

from __future__ import annotations

from registry import replay_sources
from registry.example import Example
from registry.replay.base import ReplaySource, shuffled_row
from registry.replay.wrapper import Wrapper


@replay_sources.register("shuffle_buffer")
class ShuffleBuffer(Wrapper):
    """Shuffles another source within windows of so many examples, each epoch anew.

    A window as long as the source shuffles all of it. Of a usual shuffle buffer, which depends on everything drawn before,
    it differs in that no example leaves its window: a position says alone which example is there, so that a run resumes
    exactly. Nothing is kept in memory.

    Args:
        source: where the examples come from. A stream should have a `window` that is a multiple of `size`.
        size: examples in a window, >= 1.
        seed: of the order; None: from that of the run.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, source: ReplaySource, size: int = 1_000, seed: int | None = None) -> None:
        super().__init__([source], seed)
        if size < 1:
            raise ValueError(f"replay.shuffle_buffer: size must be at least 1, not {size}")
        self.source = source
        self.size = size

    @property
    def length(self) -> int | None:
        return self.source.length

    def example(self, position: int) -> Example:
        total = self.source.length
        epoch, index = (0, position) if total is None else divmod(position, total)
        window, place = divmod(index, self.size)
        start = window * self.size
        windows, size = (0, self.size) if total is None else (-(-total // self.size), min(self.size, total - start))
        count = epoch * windows + window  # of the windows until then: each has an order of its own
        shuffled = start + shuffled_row(count * size + place, size, self.seed)
        return self.source.example(shuffled if total is None else epoch * total + shuffled)
