"""Folders of pictures, with a table that says what is asked of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from registry import replay_sources
from registry.example import MalformedExample
from registry.replay.base import MissingData
from registry.replay.csv_table import CsvTable
from registry.replay.fields import did_you_mean
from registry.replay.files import parquet_table
from registry.replay.json_tables import json_table
from registry.replay.rows import NamedTable, Row
from registry.replay.table import TableSource

TABLES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
PICTURE, PICTURES = "file_name", "file_names"


@replay_sources.register("image_folder")
@dataclass(kw_only=True, eq=False)
class ImageFolder(TableSource):
    """Reads folders of pictures with a table beside them, as `datasets` calls an image folder.

    ```
    cats/metadata.jsonl    {"file_name": "a.png", "question": "How many cats?", "answer": 2}
    cats/a.png             a name may lead into subfolders; `file_names` is a list of several pictures
    ```

    The table is `metadata.jsonl`, `metadata.csv` or `metadata.parquet`; its column `file_name` (or `file_names`) becomes the
    column `image`. A folder without one whose subfolders have their own (``train/``, ``test/``) is all of them together.

    Args:
        path: the folder, or a list of folders.
        Everything else, from `columns` to `seed`, is common to tables: see `registry.replay.table`.
    """

    name: ClassVar[str] = "image_folder"

    path: str | Sequence[str] = field(kw_only=False)

    def open_tables(self) -> list[NamedTable]:
        found = [table for path in self._paths for table in self._tables(path)]
        names = [file.parent.name for file in found]
        if len(set(names)) < len(names):
            names = [file.parent.as_posix() for file in found]
        tables = [Named(self._open(file, name)) for file, name in zip(found, names, strict=True)]
        for table in tables:
            self._check_pictures(table)
        return list(tables)

    @property
    def _paths(self) -> list[Path]:
        paths = [self.path] if isinstance(self.path, str) else self.path
        return [Path(path).expanduser() for path in paths]

    def _tables(self, folder: Path) -> list[Path]:
        if not folder.is_dir():
            near = (
                did_you_mean(folder.name, [f.name for f in folder.parent.iterdir()]) if folder.parent.is_dir() else ""
            )
            raise MissingData(f"{self.title}: no folder {str(folder)!r}{near}")
        for place in (folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir())):
            several = [place / name for name in TABLES if (place / name).is_file()]
            if len(several) > 1:
                raise ValueError(f"{self.title}: {place} has {' and '.join(f.name for f in several)}: keep one of them")
        for places in ([folder], sorted(entry for entry in folder.iterdir() if entry.is_dir())):
            tables = [place / name for place in places for name in TABLES if (place / name).is_file()]
            if tables:
                return tables
        raise ValueError(f"{self.title}: neither {folder} nor a folder in it has a table: {', '.join(TABLES)}")

    def _check_pictures(self, table: Named) -> None:
        """Raises ValueError where no row names a picture, although nobody said that there are none."""
        if self.columns is not None or callable(self.convert) or not table.columns or table.shows_pictures():
            return
        raise ValueError(
            f"{self.title}: {table.origin} has no column {PICTURE}, {PICTURES} or image{did_you_mean(PICTURE, table.columns)}"
            f"\n  columns: {', '.join(table.columns)}"
            "\n  bind columns = {..., 'image': ...}; without 'image' in it all is asked in text alone"
        )

    def _open(self, file: Path, name: str) -> NamedTable:
        if file.suffix == ".jsonl":
            return json_table(file, name, self.title, [column for column in self.wanted() if column != "image"])
        if file.suffix == ".csv":
            return CsvTable(file, name, self.title)
        return parquet_table(file, name, self.title)


class Named(NamedTable):
    """A table whose column of names of files is called `image`."""

    def __init__(self, table: NamedTable) -> None:
        self.name, self.origin = table.name, table.origin
        self._table = table
        self.columns = ["image" if column in (PICTURE, PICTURES) else column for column in table.columns]

    def __len__(self) -> int:
        return len(self._table)

    def row(self, index: int) -> Row:
        row = self._table.row(index)
        values: dict[str, Any] = dict(row.values)
        for column in (PICTURE, PICTURES):
            names = values.pop(column, None)
            if names or (column in row.values and "image" not in values):  # the other one may be null
                values["image"] = names
        return replace(row, values=values)

    def shows_pictures(self) -> bool:
        """Whether there is a column of pictures; of a long file also in a row behind those whose columns are known."""
        return bool({"image", "images"} & set(self.columns)) or any(map(self._shows_picture, range(len(self))))

    def _shows_picture(self, index: int) -> bool:
        try:
            return "image" in self.row(index).values
        except MalformedExample:
            return False

    def select(self, columns: Sequence[str]) -> NamedTable:
        wanted = [*columns, *((PICTURE, PICTURES) if "image" in columns else ())]
        return Named(self._table.select([column for column in wanted if column in self._table.columns]))
