"""Data sets of the Hugging Face Hub that do not fit on a disk."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from registry import replay_sources
from registry.example import Example, MalformedExample
from registry.replay.files import with_cause
from registry.replay.hub_dataset import HUB_ID
from registry.replay.rows import Row
from registry.replay.stream import Stream
from registry.replay.table import PROBES, RowSource

if TYPE_CHECKING:
    from datasets import IterableDataset


@replay_sources.register("hub_stream")
@dataclass(kw_only=True, eq=False)
class HubStream(RowSource):
    """Reads a data set of the Hugging Face Hub while it is downloaded, for one that does not fit on a disk.

    Rows come in the order of the stream, shuffled within a window. A resumed run goes on in the shard where it stood, as
    `IterableDataset.state_dict` has it. Every process reads the whole stream and keeps its share of the rows, so that any
    number of processes see the same examples; only those of the own share are decoded. What fits on the disk is better read
    by `@replay.hub_dataset()`, which shuffles the whole and downloads once.

    Args:
        dataset: a Hub id, or a folder that `datasets.load_dataset` can read.
        config: name of the configuration; None: the default one.
        split: name of the split.
        revision: branch, tag or commit on the Hub.
        window: rows in memory at a time, as they are stored (a picture as its file); `shuffle` is within a window.
        Everything else, from `columns` to `seed`, is common to rows: see `registry.replay.table`.
    """

    name: ClassVar[str] = "hub_stream"

    dataset: str = field(kw_only=False)
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    window: int = 1_000

    @property
    def at_hand(self) -> bool:
        return False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_positive("window")
        self._opened: Stream | None = None
        self._restored: dict[str, Any] | None = None  # a state to go on from, once the stream is opened
        if not Path(self.dataset).expanduser().is_dir() and not HUB_ID.fullmatch(self.dataset):
            raise ValueError(
                f"{self.title}: {self.dataset!r} is neither a folder that exists nor an id such as owner/name"
            )

    @property
    def length(self) -> None:
        """Not known before the end was met."""
        return

    @property
    def origins(self) -> list[str]:
        return [" ".join(part for part in (self.dataset, self.config, self.split) if part is not None)]

    @property
    def is_open(self) -> bool:
        """Never: a stream is downloaded as it is read, and read in order."""
        return False

    def example(self, position: int) -> Example:
        return self.build(self._row(self._stream(), position))

    def state_dict(self) -> dict[str, Any]:
        stream = self._restored if self._opened is None else self._opened.state_dict()
        return super().state_dict() | {"stream": stream}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._opened, self._restored = None, state["stream"]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None, "_restored": None}  # a connection is nobody else's

    def _stream(self) -> Stream:
        if self._opened is None:
            stream = Stream(self._open(), self.window, self.seed if self.shuffle else None)
            if self._restored is None:
                self.probe(functools.partial(self._row, stream, position) for position in range(PROBES))
            else:
                stream.load_state_dict(self._restored)
            self._opened = stream
        return self._opened

    def _row(self, stream: Stream, position: int) -> Row:
        try:
            number, stored = stream.row(position)
            where = f"{self._origin}, row {number}"
            values = {name: _fetched(value, where) for name, value in stored.items()}
        except MalformedExample:
            raise
        except Exception as error:  # of a connection, of a damaged file; the message of each says what is wrong
            raise ValueError(f"{self.title}: {self._origin}: {with_cause(error)}") from error
        return Row(self._origin, str(number), where, values, self._folder)

    @property
    def _folder(self) -> Path | None:
        path = Path(self.dataset).expanduser()
        return path if path.is_dir() else None

    @property
    def _origin(self) -> str:
        base = self.dataset if self._folder is None else self._folder.resolve().name
        return "/".join(part for part in (base, self.config, self.split) if part is not None)

    def _open(self) -> IterableDataset:
        import datasets

        where = str(self._folder or self.dataset)
        try:
            found = datasets.load_dataset(where, self.config, split=self.split, revision=self.revision, streaming=True)
        except Exception as error:  # of a dozen kinds; the message of each says what is wrong
            raise ValueError(f"{self.title}: {self._origin}: {with_cause(error)}") from error
        if found.features is None:  # JSON Lines say which columns they have as they go
            return found
        self.check_schema(list(found.features), self._origin)
        found = found.decode(
            False
        )  # by us, those of the own share alone: a corrupt picture spoils its row, not the run
        return found if self.columns is None else found.select_columns(self.columns_of(list(found.features)))


def _fetched(value: Any, where: str) -> Any:
    """A picture that lies beside the table on the Hub, ``{bytes: None, path: hf://...}``, with its bytes.

    Raises: MalformedExample: it is not there.
    """
    if isinstance(value, list):
        return [_fetched(item, where) for item in value]
    path = value.get("path") if isinstance(value, dict) and value.get("bytes", "") is None else None
    if not isinstance(path, str) or "://" not in path:
        return value
    import fsspec  # type: ignore[import-untyped]

    try:
        with fsspec.open(path, "rb") as stream:
            return {**value, "bytes": stream.read()}
    except FileNotFoundError as error:
        raise MalformedExample(f"{where}: image {path!r} does not exist") from error
