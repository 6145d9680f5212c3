"""Tables in JSON files: a row for each line, or one list."""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection
from pathlib import Path
from typing import Any

from registry.example import MalformedExample
from registry.replay.fields import column_of
from registry.replay.rows import NamedTable, Row

HEAD = 32
"""Rows whose keys together count as the columns of a file; more are looked at where these lack a column that is read."""


def json_table(file: Path, name: str, title: str, wanted: Collection[str] = ()) -> NamedTable:
    """The table in a file, whichever way it is written.

    Args:
        file: where it lies.
        name: prefix of the ids.
        title: how messages name the source.
        wanted: columns that are read: some of its rows should have them.

    Raises:
        ValueError: it begins as a list, but is none.
    """
    with file.open("rb") as stream:
        is_list = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    return JsonList(file, name, title) if is_list else JsonLines(file, name, wanted)


class JsonLines(NamedTable):
    """A JSON Lines file; blank lines are passed over."""

    def __init__(self, file: Path, name: str, wanted: Collection[str] = ()) -> None:
        self.name = name
        self.origin = str(file)
        self._file = file
        self._starts = array("Q")
        self._lines = array("Q")  # numbers from 1, as an editor counts
        start = 0
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    self._starts.append(start)
                    self._lines.append(number)
                start += len(line)
        self.columns = self._head(wanted)

    def __len__(self) -> int:
        return len(self._starts)

    def row(self, index: int) -> Row:
        where = f"{self.origin}, line {self._lines[index]}"
        with self._file.open("rb") as stream:  # opened anew: a shared one would not survive a fork
            stream.seek(self._starts[index])
            line = stream.readline()
        try:
            values = json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise MalformedExample(f"{where}: not JSON: {error}", "not JSON") from error
        return _json_row(values, self.name, index, where, self._file.parent)

    def _head(self, wanted: Collection[str]) -> list[str]:
        columns: dict[str, None] = {}
        for index in range(len(self)):
            if index >= HEAD and all(column_of(name, columns) in columns for name in wanted):
                break
            try:
                columns.update(dict.fromkeys(self.row(index).values))
            except MalformedExample:
                continue
        return list(columns)


class JsonList(NamedTable):
    """A file that is one JSON list of objects; kept in memory."""

    def __init__(self, file: Path, name: str, title: str) -> None:
        self.name = name
        self.origin = str(file)
        self._folder = file.parent
        try:
            self._rows: list[Any] = json.loads(file.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{title}: {file} begins as a JSON list, but is none: {error}") from error
        self.columns = list(dict.fromkeys(key for row in self._rows if isinstance(row, dict) for key in row))

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int) -> Row:
        return _json_row(self._rows[index], self.name, index, f"{self.origin}, row {index}", self._folder)


def _json_row(values: Any, table: str, index: int, where: str, folder: Path) -> Row:
    if not isinstance(values, dict):
        raise MalformedExample(
            f"{where}: of type {type(values).__name__}, not an object with columns", "not an object with columns"
        )
    return Row(table, str(index), where, values, folder)
