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
    An empty value counts as null. Columns without a name are left out.

    Raises:
        ValueError: the file is not text, a quote in it is never closed, or its header names a column twice.
    """

    def __init__(self, file: Path, name: str, title: str) -> None:
        self.name = name
        self.origin = str(file)
        self._folder = file.parent
        csv.field_size_limit(FIELD_LIMIT)
        delimiter = "\t" if file.suffix.lower() in (".tsv", ".tab") else ","
        rows: list[tuple[int, list[str]]] = []
        end = 0  # the last line of the row before
        try:
            with file.open(encoding="utf-8-sig", newline="") as stream:
                reader = csv.reader(stream, delimiter=delimiter, strict=True)
                for values in reader:
                    end = reader.line_num
                    rows.append((end, values))
        except csv.Error as error:
            raise ValueError(
                f"{title}: {file}, line {end + 1}: a stray quote in the row that begins there: {error}"
                " (a quote within a quoted value is written twice)"
            ) from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{title}: {file}, line {_bad_line(file)}: not text in UTF-8: {error}") from error
        self._header = rows[0][1] if rows else []
        self._rows = [(line, values) for line, values in rows[1:] if values]
        self.columns = [column for column in self._header if column.strip()]
        twice = {column for column in self.columns if self.columns.count(column) > 1}
        if twice:
            raise ValueError(f"{title}: {file} has several columns {', '.join(sorted(twice))}")

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int) -> Row:
        line, values = self._rows[index]
        where = f"{self.origin}, line {line}"
        if len(values) != len(self._header):
            raise MalformedExample(f"{where}: {len(values)} values for {len(self._header)} columns")
        columns = {name: value or None for name, value in zip(self._header, values, strict=True) if name.strip()}
        return Row(self.name, str(index), where, columns, self._folder)


def _bad_line(file: Path) -> int:
    """The number of the first line that is not UTF-8."""
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1
