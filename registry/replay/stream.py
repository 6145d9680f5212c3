"""A stream of rows, addressed by position: one window of it is in memory at a time.

stream    0 1 2 3 | 4 5 6 7 | 8 9        windows of 4; the end is known once it was met
epoch 0   2 0 3 1 | 6 7 4 5 | 9 8        shuffled within each window, in every epoch anew
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from registry.replay.base import shuffled_row
from registry.replay.written import as_written, readers_of

if TYPE_CHECKING:
    from datasets import IterableDataset


class Stream:
    """Reads an `IterableDataset` window by window.

    To go forward is to read on; to go back, to read from the start again.

    Args:
        dataset: the rows.
        window: rows in memory at a time.
        seed: of the order within a window; None: as they come.
    """

    def __init__(self, dataset: IterableDataset, window: int, seed: int | None) -> None:
        self._dataset = dataset
        self._readers = readers_of(dataset.features)
        self._size = window
        self._seed = seed
        self._end: int | None = None  # rows of the stream
        self._rows: list[dict[str, Any]] = []  # the window in memory
        self._start: dict[str, Any] | None = None  # the state of the data set before it; None: untouched
        self._next: dict[str, Any] | None = None  # and before the one after it
        self._start_over()

    def row(self, position: int) -> tuple[int, dict[str, Any]]:
        """The number of the row at a position, in the order of the stream, and its columns as they were written.

        Raises:
            ValueError: the stream is empty.
        """
        while True:
            epoch, index = self._place(position)
            window = index // self._size
            if window == self._number:
                break
            if window < self._number:
                self._start_over()
            self._read_on()  # may meet the end, which tells more of the place
        place = index - window * self._size
        if self._seed is not None:
            windows = 0 if self._end is None else -(-self._end // self._size)
            count = epoch * windows + window  # of the windows met until then: each has an order of its own
            place = shuffled_row(count * len(self._rows) + place, len(self._rows), self._seed)
        return window * self._size + place, as_written(self._rows[place], self._readers)

    def state_dict(self) -> dict[str, Any]:
        """Where the window in memory starts."""
        return {"window": self._number, "start": self._start, "end": self._end}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Reads the window of that state next, without those before it."""
        self._start_over()
        self._end = state["end"]
        if state["start"] is not None:
            self._iterator = self._iterate(state["start"])
            self._number, self._next = state["window"] - 1, state["start"]
        if state["window"] >= 0:
            self._read_on()

    def _place(self, position: int) -> tuple[int, int]:
        """Epoch, and number within it."""
        if self._end == 0:
            raise ValueError("the stream is empty")
        return (0, position) if self._end is None else divmod(position, self._end)

    def _start_over(self) -> None:
        self._iterator = self._iterate(None)
        self._number, self._rows, self._start, self._next = -1, [], None, None

    def _read_on(self) -> None:
        rows = list(itertools.islice(self._iterator, self._size))
        if len(rows) < self._size:
            self._end = (self._number + 1) * self._size + len(rows)
        if rows:
            self._number, self._rows = self._number + 1, rows
            self._start, self._next = self._next, self._dataset.state_dict()

    def _iterate(self, state: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        self._dataset.load_state_dict(state)
        return iter(self._dataset)
