"""WebDataset shards: tar files in which the files of one example stand together under one name."""

from __future__ import annotations

import json
import tarfile
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from registry import replay_sources
from registry.example import MalformedExample
from registry.replay.files import FileSource
from registry.replay.rows import NamedTable, Row

HEAD = 32
"""Examples whose columns together count as those of a shard."""
# As the library WebDataset decodes them.
TEXTS = ("txt", "text", "transcript")
NUMBERS = ("cls", "cls2", "class", "count", "index", "inx", "id")


@replay_sources.register("webdataset")
@dataclass(kw_only=True, eq=False)
class WebDataset(FileSource):
    """Reads WebDataset shards (tar files), in any order: the places of their files are found once, at the first use.

    ```
    train-000.tar    0001.jpg  0001.json     {"question": "How many?", "answer": 3}
                     0002.jpg  0002.json
    ```

    The columns of an example: the keys of its ``.json``; its other files under their endings (``txt`` as text, ``cls`` as a
    number, anything else as bytes), and `image`, all of its pictures in order. Shards must not be compressed.

    Args:
        path: a file, a glob pattern (``train-*.tar``), or a list of them.
        Everything else, from `columns` to `seed`, is common to tables: see `registry.replay.table`.
    """

    name: ClassVar[str] = "webdataset"

    def open_file(self, file: Path, name: str) -> NamedTable:
        return Shard(file, name, self.title)


class Shard(NamedTable):
    """One tar file, of which only names and places are kept in memory.

    Raises:
        ValueError: no tar file, or a compressed one.
    """

    def __init__(self, file: Path, name: str, title: str) -> None:
        self.name = name
        self.origin = str(file)
        self._file = file
        self._keys: list[str] = []
        self._firsts = array("Q")  # of each example: the number of its first member
        self._endings: list[str] = []  # of each member
        self._starts, self._sizes = array("Q"), array("Q")  # in bytes
        try:
            with tarfile.open(file, "r:") as shard:  # not r:*, as a compressed one has no places to jump to
                for member in shard:
                    if member.isfile():
                        self._add(member)
                    shard.members.clear()  # type: ignore[attr-defined]  # a million of them would be a gigabyte
        except (tarfile.TarError, OSError) as error:
            raise ValueError(f"{title}: {file} is not an uncompressed tar file: {error}") from error
        self.columns = self._head()

    def __len__(self) -> int:
        return len(self._keys)

    def row(self, index: int) -> Row:
        key = self._keys[index]
        where = f"{self.origin}, {key}"
        last = self._firsts[index + 1] if index + 1 < len(self) else len(self._endings)
        values: dict[str, Any] = {}
        pictures = []
        with self._file.open("rb") as stream:  # opened anew: a shared one would not survive a fork
            for number in range(self._firsts[index], last):
                stream.seek(self._starts[number])
                ending, data = self._endings[number], stream.read(self._sizes[number])
                if is_picture(ending):
                    pictures.append(data)
                values |= _columns(ending, data, where)
        if pictures:
            values.setdefault("image", pictures)
        return Row(self.name, key, where, values, self._file.parent)

    def _add(self, member: tarfile.TarInfo) -> None:
        folder, _, base = member.name.rpartition("/")
        stem, dot, ending = base.partition(".")
        if not stem or not dot:  # .DS_Store, a README
            return
        key = f"{folder}/{stem}".lstrip("./")
        if not self._keys or self._keys[-1] != key:
            self._keys.append(key)
            self._firsts.append(len(self._endings))
        self._endings.append(ending.lower())
        self._starts.append(member.offset_data)
        self._sizes.append(member.size)

    def _head(self) -> list[str]:
        columns: dict[str, None] = {}
        for index in range(min(HEAD, len(self))):
            try:
                columns.update(dict.fromkeys(self.row(index).values))
            except MalformedExample:
                continue
        return list(columns)


def is_picture(ending: str) -> bool:
    """Whether Pillow reads files of that ending: ``jpg``, ``left.png``."""
    return f".{ending.rpartition('.')[2]}" in Image.registered_extensions()


def _columns(ending: str, data: bytes, where: str) -> dict[str, Any]:
    """What one file of an example adds to its columns."""
    kind = ending.rpartition(".")[2]
    try:
        if kind == "json":
            found = json.loads(data)
            return found if isinstance(found, dict) and ending == "json" else {ending: found}
        if kind in TEXTS:
            return {ending: data.decode("utf-8")}
        if kind in NUMBERS:
            return {ending: int(data)}
    except (ValueError, RecursionError) as error:
        raise MalformedExample(f"{where}.{ending}: {error}") from error
    return {ending: data}
