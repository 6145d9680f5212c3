"""A table in memory-mapped Arrow files, as the `datasets` library keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from registry.replay.rows import NamedTable, Row
from registry.replay.written import as_written, readers_of

if TYPE_CHECKING:
    from datasets import Dataset


class ArrowTable(NamedTable):
    """Rows of a `datasets.Dataset`.

    Read in Arrow's own form, so an image arrives as the bytes of its file: a corrupt one spoils its row, not the run.

    Args:
        dataset: the rows.
        name: prefix of the ids.
        origin: how messages name it.
        folder: where relative image paths start.
    """

    def __init__(self, dataset: Dataset, name: str, origin: str, folder: Path | None = None) -> None:
        self.name = name
        self.origin = origin
        self.columns = list(dataset.column_names)
        self._dataset = dataset.with_format("arrow")
        self._folder = folder
        self._readers = readers_of(dataset.features)

    def __len__(self) -> int:
        return len(self._dataset)

    def row(self, index: int) -> Row:
        values = as_written(self._dataset[index].to_pylist()[0], self._readers)
        return Row(self.name, str(index), f"{self.origin}, row {index}", values, self._folder)

    def select(self, columns: Sequence[str]) -> ArrowTable:
        return ArrowTable(self._dataset.select_columns(list(columns)), self.name, self.origin, self._folder)

    def counts(self, column: str) -> list[int]:
        narrow = self.select([column])  # without the pictures
        return super(ArrowTable, narrow).counts(column)
