"""A table in memory-mapped Arrow files, as the `datasets` library keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from registry.replay.rows import NamedTable, Row

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
        self._short = [field for field in dataset.features.arrow_schema if _has_few_bits(field.type)]
        self._named = {column: feature.int2str for column, feature in dataset.features.items() if _has_names(feature)}

    def __len__(self) -> int:
        return len(self._dataset)

    def row(self, index: int) -> Row:
        values = self._dataset[index].to_pylist()[0]
        for column, name in self._named.items():
            number = values[column]
            values[column] = None if number is None or number < 0 else name(number)  # -1: a row without a label
        for field in self._short:
            values[field.name] = _as_written(values[field.name], field.type)
        return Row(self.name, str(index), f"{self.origin}, row {index}", values, self._folder)

    def select(self, columns: Sequence[str]) -> ArrowTable:
        return ArrowTable(self._dataset.select_columns(list(columns)), self.name, self.origin, self._folder)

    def counts(self, column: str) -> list[int]:
        narrow = self.select([column])  # without the pictures
        return super(ArrowTable, narrow).counts(column)


def _has_names(feature: Any) -> bool:
    """Whether a column holds numbers that stand for names; "0" and "1" for names say no more than the numbers."""
    names = getattr(feature, "names", None)
    return names is not None and not all(name.isdigit() for name in names)


def _has_few_bits(kind: pa.DataType) -> bool:
    """Whether a column holds numbers of 16 or 32 bits, or lists of them."""
    return _item(kind) in (pa.float16(), pa.float32())


def _as_written(value: Any, kind: pa.DataType) -> Any:
    """A number of 16 or 32 bits as the shortest decimal that it is: 0.1, not 0.10000000149011612."""
    if isinstance(value, list):
        return [_as_written(item, kind) for item in value]
    short = np.float32 if pa.types.is_float32(_item(kind)) else np.float16
    return None if value is None else float(str(short(value)))


def _item(kind: pa.DataType) -> pa.DataType:
    """The type of what lists hold."""
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind
