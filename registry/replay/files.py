"""Tables in files: JSON Lines, Parquet and comma-separated values."""

from __future__ import annotations

import glob
import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from registry import replay_sources
from registry.replay.arrow import ArrowTable
from registry.replay.base import MissingData
from registry.replay.csv_table import CsvTable
from registry.replay.fields import did_you_mean
from registry.replay.json_tables import json_table
from registry.replay.rows import NamedTable
from registry.replay.table import TableSource
from registry.shipped import located


@dataclass(kw_only=True, eq=False)
class FileSource(TableSource):
    """A source over files of one kind, one table per file."""

    path: str | Sequence[str] = field(kw_only=False)

    @property
    def origins(self) -> Sequence[str]:
        return [str(file.resolve()) for file in self.files()]

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
            if pattern.startswith("experiments/"):  # as the experiments that travel with the project write it
                pattern = str(located(pattern))
            # A file may be called data[1].jsonl, so what exists is no pattern.
            found = [pattern] if os.path.isfile(pattern) else sorted(glob.glob(pattern, recursive=True))
            matches = [Path(name) for name in found if os.path.isfile(name)]
            if not matches:
                if os.path.isdir(pattern):
                    raise ValueError(f"{self.title}: {pattern!r} is a folder; name its files: {pattern}/*")
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
        return json_table(file, name, self.title, self.wanted())


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

    @property
    def at_hand(self) -> bool:
        return False

    def check_tables(self) -> None:
        """Reads the names of the columns alone: to open a file is to copy it. Empty files are passed over."""
        import pyarrow.parquet

        for file in self.files():
            try:
                found = pyarrow.parquet.read_metadata(file)
                columns = found.schema.to_arrow_schema().names
            except (OSError, ValueError) as error:
                raise ValueError(f"{self.title}: {file} is not a Parquet file: {error}") from error
            if found.num_rows:
                self.check_schema(columns, str(file))

    def open_file(self, file: Path, name: str) -> NamedTable:
        return parquet_table(file, name, self.title)


@replay_sources.register("csv")
@dataclass(kw_only=True, eq=False)
class Csv(FileSource):
    """Reads files of comma-separated values, or tab-separated ones (``.tsv``), with a header; one example per line.

    Every value is text: ``convert = 'choice_index'`` where the answer is the number of a choice.

    Args:
        path: a file, a glob pattern, or a list of them.
        Everything else, from `columns` to `seed`, is common to tables: see `registry.replay.table`.
    """

    name: ClassVar[str] = "csv"

    def open_file(self, file: Path, name: str) -> NamedTable:
        return CsvTable(file, name, self.title)


def parquet_table(file: Path, name: str, title: str) -> ArrowTable:
    """The table in a Parquet file. Raises: ValueError: it cannot be read."""
    import datasets
    import pyarrow.parquet

    try:
        if pyarrow.parquet.read_metadata(file).num_rows:
            rows = datasets.Dataset.from_parquet(glob.escape(str(file)))
        else:  # which datasets refuses
            rows = datasets.Dataset.from_dict({})
    except Exception as error:
        raise ValueError(f"{title}: {file} cannot be read: {with_cause(error)}") from error
    return ArrowTable(rows, name, origin=str(file), folder=file.parent)


def with_cause(error: BaseException) -> str:
    """What an error says, and the first of those it was raised from: `datasets` says of most that one occurred."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return str(error) if cause is error else f"{error}: {type(cause).__name__}: {cause}"


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f": there is no folder {str(path.parent)!r}"
    return did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()])
