"""Tables of comma- or tab-separated values."""

from __future__ import annotations

import csv
from pathlib import Path

from registry.example import MalformedExample
from registry.replay.rows import NamedTable, Row

FIELD_LIMIT = 2**31 - 1  # characters; a picture in base64 is longer than the 131,072 that Python allows


class CsvTable(NamedTable):
    """A file with a header and a row for each line; kept in memory.

    Every value stays the text that it is: ``007`` is no number, and nothing becomes a float because another row is empty.
    An empty value counts as null.

    Raises:
        ValueError: the file is not text, or its header names a column twice.
    """

    def __init__(self, file: Path, name: str, title: str) -> None:
        self.name = name
        self.origin = str(file)
        self._folder = file.parent
        csv.field_size_limit(FIELD_LIMIT)
        delimiter = "\t" if file.suffix.lower() in (".tsv", ".tab") else ","
        try:
            with file.open(encoding="utf-8-sig", newline="") as stream:
                reader = csv.reader(stream, delimiter=delimiter, strict=True)
                self.columns = next(reader, [])
                self._rows = [(reader.line_num, values) for values in reader if values]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{title}: {file} is not a table of text in UTF-8: {error}") from error
        twice = {column for column in self.columns if list(self.columns).count(column) > 1}
        if twice:
            raise ValueError(f"{title}: {file} has several columns {', '.join(sorted(twice))}")

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int) -> Row:
        line, values = self._rows[index]
        where = f"{self.origin}, line {line}"
        if len(values) != len(self.columns):
            raise MalformedExample(f"{where}: {len(values)} values for {len(self.columns)} columns")
        columns = {name: value or None for name, value in zip(self.columns, values, strict=True)}
        return Row(self.name, str(index), where, columns, self._folder)
