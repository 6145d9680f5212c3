"""WebDataset shards: tar files in which the files of one example bear one name."""

from __future__ import annotations

import json
import posixpath
import sys
import tarfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from registry import replay_sources
from registry.example import MalformedExample
from registry.replay.files import FileSource
from registry.replay.rows import NamedTable, Row

HEAD = 32
"""Examples whose columns together count as those of a shard."""
LINKS = 8
"""Links that are followed one after another."""
# As the library WebDataset decodes them.
TEXTS = ("txt", "text", "transcript")
NUMBERS = ("cls", "cls2", "class", "count", "index", "inx", "id")
NO_PICTURES = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PALM", "PDF", "WMF")
"""What Pillow knows by its ending, but only writes, or cannot decode by itself."""


@replay_sources.register("webdataset")
@dataclass(kw_only=True, eq=False)
class WebDataset(FileSource):
    """Reads WebDataset shards (tar files), in any order: the places of their files are found once, at the first use.

    ```
    train-000.tar    0001.jpg  0001.json     {"question": "How many?", "answer": 3}
                     0002.jpg  0002.json
    ```

    The columns of an example: the keys of its ``.json``; its other files under their endings (``txt`` as text, ``cls`` as a
    number, anything else as bytes), and `image`, all of its pictures in order. Shards must not be compressed. The files of an
    example need not stand together, and may be links within the tar.

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
        self._endings: list[str] = []  # of each member
        self._starts, self._sizes = array("Q"), array("Q")  # in bytes
        self._nowhere: dict[str, str] = {}  # links that lead to no file, and what they name
        numbers: dict[str, int] = {}  # of the examples, as they appear
        owners = array("Q")  # of each member: the number of its example
        links: dict[str, str] = {}
        linked: list[tuple[int, str]] = []  # members that are links, and their names
        try:
            for member in _members(file):
                link = _target(member)
                if link is not None:
                    links[posixpath.normpath(member.name)] = link
                folder, _, base = member.name.rpartition("/")
                stem, dot, ending = base.partition(".")
                if not stem or not dot or not (member.isfile() or link is not None):  # .DS_Store, a README, a folder
                    continue
                if link is not None:
                    linked.append((len(owners), posixpath.normpath(member.name)))
                owners.append(numbers.setdefault(f"{folder}/{stem}".lstrip("./"), len(numbers)))
                self._endings.append(sys.intern(ending.lower()))
                self._starts.append(member.offset_data)
                self._sizes.append(member.size)
            self._keys = list(numbers)
            del numbers  # as large as all that is kept
            self._follow(links, linked, owners)
        except (tarfile.TarError, OSError) as error:
            raise ValueError(f"{title}: {file} is not an uncompressed tar file: {error}") from error
        self._firsts = self._together(owners)
        self.columns = self._head()

    def __len__(self) -> int:
        return len(self._keys)

    def row(self, index: int) -> Row:
        key = self._keys[index]
        where = f"{self.origin}, {key}"
        members = range(self._firsts[index], self._firsts[index + 1])
        endings = [self._endings[number] for number in members]
        for ending in endings:
            if endings.count(ending) > 1:
                raise MalformedExample(f"{where}: several files .{ending}")
            if link := self._nowhere.get(f"{key}.{ending}"):
                raise MalformedExample(f"{where}.{ending}: a link to {link!r}, no file of the tar")
        values: dict[str, Any] = {}
        pictures = []
        with self._file.open("rb") as stream:  # opened anew: a shared one would not survive a fork
            for number, ending in zip(members, endings, strict=True):
                stream.seek(self._starts[number])
                data = stream.read(self._sizes[number])
                if is_picture(ending):
                    pictures.append(data)
                values |= _columns(ending, data, where)
        if pictures and values.get("image") is None:
            values["image"] = pictures
        return Row(self.name, key, where, values, self._file.parent)

    def _follow(self, links: dict[str, str], linked: list[tuple[int, str]], owners: array[int]) -> None:
        """Gives links the places of what they lead to, which takes a second look at the names of the tar."""
        ends = {}
        for _, name in linked:
            end = name
            for _ in range(LINKS):
                end = links.get(end, end)
            ends[name] = end
        wanted = set(ends.values()) - links.keys()
        places = {}
        for member in _members(self._file) if wanted else ():
            name = posixpath.normpath(member.name)
            if member.isfile() and name in wanted:
                places[name] = member.offset_data, member.size
        for number, name in linked:
            if ends[name] in places:
                self._starts[number], self._sizes[number] = places[ends[name]]
            else:
                self._nowhere[f"{self._keys[owners[number]]}.{self._endings[number]}"] = links[name]

    def _together(self, owners: array[int]) -> array[int]:
        """Sorts the members by example. Returns: of each example the number of its first member, and of the end."""
        numbers = np.asarray(owners, dtype=np.uint64)
        order = np.argsort(numbers, kind="stable")
        self._endings = [self._endings[number] for number in order]
        self._starts, self._sizes = (array("Q", np.asarray(a)[order]) for a in (self._starts, self._sizes))
        return array("Q", np.searchsorted(numbers[order], np.arange(len(self) + 1, dtype=np.uint64)))

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
    kind = Image.registered_extensions().get(f".{ending.rpartition('.')[2]}")
    return kind is not None and kind not in NO_PICTURES


def _members(file: Path) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(file, "r:") as shard:  # not r:*, as a compressed one has no places to jump to
        for member in shard:
            yield member
            shard.members.clear()  # type: ignore[attr-defined]  # a million of them would be a gigabyte


def _target(member: tarfile.TarInfo) -> str | None:
    """The name that a link leads to, from the root of the tar; None: no link."""
    folder = posixpath.dirname(member.name) if member.issym() else ""
    return posixpath.normpath(posixpath.join(folder, member.linkname)) if member.issym() or member.islnk() else None


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
