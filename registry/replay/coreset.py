"""A fixed few examples of another source."""

from __future__ import annotations

from registry import replay_sources
from registry.example import Example
from registry.replay.base import ReplaySource, shuffled_row
from registry.replay.wrapper import Wrapper


@replay_sources.register("coreset")
class Coreset(Wrapper):
    """Replays a fixed, seeded subset of another source, each epoch in an order of its own.

    ```
    grounding/Domain.source = @replay.coreset()
    replay.coreset.source = @replay.grounding()
    replay.coreset.size = 750
    ```

    Of a source with N examples, the subset is the first `size` of a shuffle seeded by `seed`, or all N where it has no
    more. Of a source without end it is the first `size`, which that source's own seed decides. A table needs no
    wrapper: its `limit` does the same.

    Args:
        source: where the examples come from; its own position is not used.
        size: examples in the subset, >= 1.
        seed: seeds the order, and which examples of a finite source are kept; None: from that of the run.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, source: ReplaySource, size: int, seed: int | None = None) -> None:
        super().__init__([source], seed)
        if size < 1:
            raise ValueError(f"replay.coreset: size must be at least 1, not {size}")
        self.source = source
        self.size = size

    @property
    def length(self) -> int:
        total = self.source.length
        return self.size if total is None else min(self.size, total)

    def example(self, position: int) -> Example:
        total = self.source.length
        index = shuffled_row(position, self.length, self.seed)
        return self.source.example(index if total is None else shuffled_row(index, total, self.seed))
