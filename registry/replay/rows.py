"""Rows of finite tables, and views that select among them: `Chained`, `Sampled`, `Exploded`.

tables   a: 0 1 2     b: 0 1          Chained([a, b])         a0 a1 a2 b0 b1
row      a0 = {captions: [p, q]}      Exploded(a, captions)   a0-0 {captions: p}   a0-1 {captions: q}   a1-0 ...
"""

from __future__ import annotations

import bisect
import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from registry.example import MalformedExample
from registry.replay.base import shuffled_row


@dataclass(frozen=True, slots=True)
class Row:
    """One row as published.

    Attributes:
        table: name of its table, unique within the source: ``refcoco_train``.
        key: its number in that table.
        where: how a message names it: ``refcoco_train.jsonl, line 18``.
        values: the columns.
        folder: where relative image paths start; None where the table lies in no folder.
        part: tells apart the rows that `Exploded` made of one: ``-0``, ``-1``, ...
    """

    table: str
    key: str
    where: str
    values: Mapping[str, Any]
    folder: Path | None = None
    part: str = ""


class Table(ABC):
    """Rows by number, read when asked for."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def row(self, index: int) -> Row:
        """The row of that number. Raises: MalformedExample: it cannot be read."""


class NamedTable(Table):
    """A table as published, with known columns.

    Attributes:
        name: prefix of the ids, unique within the source.
        origin: how messages name it: the file, or the data set.
        columns: names of its columns.
    """

    name: str
    origin: str
    columns: Sequence[str]

    def select(self, columns: Sequence[str]) -> NamedTable:
        """The table without other columns, where leaving them out saves reading them."""
        return self

    def counts(self, column: str) -> list[int]:
        """How many values the list in `column` holds, row by row."""
        counts = []
        for index in range(len(self)):
            try:
                values = self.row(index).values.get(column)
            except MalformedExample:
                values = None
            # 1 where there is no list: the row is met in its turn, found malformed and counted
            counts.append(len(values) if isinstance(values, list) else 1)
        return counts


class Chained(Table):
    """Tables one after another."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tuple(tables)
        self._ends = list(itertools.accumulate(len(table) for table in tables))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def row(self, index: int) -> Row:
        number = bisect.bisect_right(self._ends, index)
        return self._tables[number].row(index - (self._ends[number - 1] if number else 0))


class Sampled(Table):
    """The first `count` rows of a seeded shuffle; the whole table where it has no more."""

    def __init__(self, table: Table, count: int, seed: int) -> None:
        self._table = table
        self._count = min(count, len(table))
        self._seed = seed

    def __len__(self) -> int:
        return self._count

    def row(self, index: int) -> Row:
        size = len(self._table)
        return self._table.row(shuffled_row(index, size, self._seed) if self._count < size else index)


class Exploded(Table):
    """One row for each value of a column that holds lists, or of several columns whose lists run in parallel."""

    def __init__(self, table: NamedTable, columns: Sequence[str]) -> None:
        self._table = table
        self._columns = tuple(columns)
        self._ends = list(itertools.accumulate(table.counts(self._columns[0])))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def row(self, index: int) -> Row:
        number = bisect.bisect_right(self._ends, index)
        place = index - (self._ends[number - 1] if number else 0)
        row = self._table.row(number)
        lists = {column: row.values.get(column) for column in self._columns}
        for column, values in lists.items():
            if not isinstance(values, list):
                raise MalformedExample(
                    f"{row.where}: {column} is {type(values).__name__}, not a list to explode", "not a list to explode"
                )
        if len({len(values) for values in lists.values() if values is not None}) > 1:
            lengths = ", ".join(f"{len(values or ())} of {column}" for column, values in lists.items())
            raise MalformedExample(f"{row.where}: {lengths}: not in parallel", "lists to explode of different lengths")
        taken = {column: values[place] for column, values in lists.items() if values is not None}
        return replace(row, part=f"-{place}", values={**row.values, **taken})
