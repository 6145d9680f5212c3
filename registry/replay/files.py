"""Tables in files: JSON Lines and Parquet."""

from __future__ import annotations

import glob
import json
import os
from abc import abstractmethod
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from registry import replay_sources
from registry.example import MalformedExample
from registry.replay.arrow import ArrowTable
from registry.replay.base import MissingData
from registry.replay.fields import did_you_mean
from registry.replay.rows import NamedTable, Row
from registry.replay.table import TableSource

HEAD = 32
"""Rows whose keys together count as the columns of a JSON Lines file."""


@dataclass(kw_only=True, eq=False)
class FileSource(TableSource):
    """A source over files of one kind, one table per file."""

    path: str | Sequence[str] = field(kw_only=False)

    @abstractmethod
    def open_file(self, file: Path, name: str) -> NamedTable:
        """The table in one file."""

    def open_tables(self) -> list[NamedTable]:
        files = [file.absolute() for file in self.files()]
        parent = Path(os.path.commonpath([file.parent for file in files]))
        paths = [file.relative_to(parent) for file in files]
        names = [path.with_suffix("").as_posix() for path in paths]
        if len(set(names)) < len(names):  # a.json and a.jsonl
            names = [path.as_posix() for path in paths]
        return [self.open_file(file, name) for file, name in zip(self.files(), names, strict=True)]

    def files(self) -> list[Path]:
        """The files that `path` means, in the order given, those of one pattern by name.

        Raises:
            MissingData: not even the folder exists.
            ValueError: no such file in it.
        """
        files: dict[Path, None] = {}
        for pattern in [self.path] if isinstance(self.path, str) else self.path:
            pattern = os.path.expanduser(pattern)
            # A file may be called data[1].jsonl, so what exists is no pattern.
            found = [pattern] if os.path.isfile(pattern) else sorted(glob.glob(pattern, recursive=True))
            matches = [Path(name) for name in found if os.path.isfile(name)]
            if not matches:
                kind = ValueError if Path(pattern).parent.is_dir() else MissingData
                raise kind(f"{self.title}: no file {pattern!r}{_neighbours(Path(pattern))}")
            files.update(dict.fromkeys(matches))
        if not files:
            raise ValueError(f"{self.title}: path names no file")
        return list(files)


@replay_sources.register("jsonl")
@dataclass(kw_only=True, eq=False)
class Jsonl(FileSource):
    """Reads JSON Lines files, one example per line; also a file that is one JSON list.

    Only the places of the lines are kept in memory. A line that is not JSON is a malformed example.

    Args:
        path: a file, a glob pattern, or a list of them.
        Everything else, from `columns` to `seed`, is common to tables: see `registry.replay.table`.
    """

    name: ClassVar[str] = "jsonl"

    def open_file(self, file: Path, name: str) -> NamedTable:
        with file.open("rb") as stream:
            is_list = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
        return JsonList(file, name, self.title) if is_list else JsonLines(file, name)


@replay_sources.register("parquet")
@dataclass(kw_only=True, eq=False)
class Parquet(FileSource):
    """Reads Parquet files, one example per row.

    At the first use the `datasets` library copies each file to an Arrow file in its cache, from which rows are read in
    any order without being kept in memory.

    Args:
        path: a file, a glob pattern, or a list of them.
        Everything else, from `columns` to `seed`, is common to tables: see `registry.replay.table`.
    """

    name: ClassVar[str] = "parquet"

    def check_tables(self) -> None:
        """Reads the names of the columns alone: to open a file is to copy it."""
        import pyarrow.parquet

        for file in self.files():
            try:
                columns = pyarrow.parquet.read_schema(file).names
            except (OSError, ValueError) as error:
                raise ValueError(f"{self.title}: {file} is not a Parquet file: {error}") from error
            self.check_schema(columns, str(file))

    def open_file(self, file: Path, name: str) -> NamedTable:
        import datasets

        try:
            rows = datasets.Dataset.from_parquet(glob.escape(str(file)))
        except Exception as error:
            raise ValueError(f"{self.title}: {file} cannot be read: {error}") from error
        return ArrowTable(rows, name, origin=str(file), folder=file.parent)


class JsonLines(NamedTable):
    """A JSON Lines file; blank lines are passed over."""

    def __init__(self, file: Path, name: str) -> None:
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
        self.columns = self._head()

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
            raise MalformedExample(f"{where}: not JSON: {error}") from error
        return _json_row(values, self.name, index, where, self._file.parent)

    def _head(self) -> list[str]:
        columns: dict[str, None] = {}
        for index in range(min(HEAD, len(self))):
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
        self.columns = list(dict.fromkeys(key for row in self._rows[:HEAD] if isinstance(row, dict) for key in row))

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int) -> Row:
        return _json_row(self._rows[index], self.name, index, f"{self.origin}, row {index}", self._folder)


def _json_row(values: Any, table: str, index: int, where: str, folder: Path) -> Row:
    if not isinstance(values, dict):
        raise MalformedExample(f"{where}: of type {type(values).__name__}, not an object with columns")
    return Row(table, str(index), where, values, folder)


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f": there is no folder {str(path.parent)!r}"
    return did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()])
