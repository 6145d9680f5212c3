"""Data sets of the Hugging Face Hub, and local copies of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from registry import replay_sources
from registry.replay.arrow import ArrowTable
from registry.replay.fields import did_you_mean
from registry.replay.files import with_cause
from registry.replay.rows import NamedTable, Sampled, Table
from registry.replay.table import TableSource

if TYPE_CHECKING:
    from datasets import Dataset

HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


@replay_sources.register("hub_dataset")
@dataclass(kw_only=True, eq=False)
class HubDataset(TableSource):
    """Reads a data set of the Hugging Face Hub, or a local folder; loaded at the first use.

    A local folder may be one that `datasets` saved (`save_to_disk`), or any that `datasets.load_dataset` can read.

    Args:
        dataset: a Hub id, such as ``lmms-lab/ScienceQA-IMG``, or a folder.
        configs: names of configurations, one after another; left out: the default one.
        split: name of the split.
        revision: branch, tag or commit on the Hub.
        limit_per_config: only so many rows of each configuration, the first of a shuffle seeded by `seed`.
        Everything else, from `columns` to `seed`, is common to tables: see `registry.replay.table`.
    """

    name: ClassVar[str] = "hub_dataset"

    dataset: str = field(kw_only=False)
    configs: str | Sequence[str] = ()
    split: str = "train"
    revision: str | None = None
    limit_per_config: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_positive("limit_per_config")
        if self._folder is None and not HUB_ID.fullmatch(self.dataset):
            raise ValueError(
                f"{self.title}: {self.dataset!r} is neither a folder that exists nor an id such as owner/name"
            )

    @property
    def origins(self) -> Sequence[str]:
        configs = [self.configs] if isinstance(self.configs, str) else self.configs
        return [f"{self.dataset} {config} {self.split}" for config in configs] or [f"{self.dataset} {self.split}"]

    @property
    def at_hand(self) -> bool:
        return self._saved

    def check_tables(self) -> None:
        """Opens what is saved on disk. Never asks the Hub, nor builds what `load_dataset` would have to build first."""
        if self._saved:
            super().check_tables()

    def open_tables(self) -> list[NamedTable]:
        configs = [self.configs] if isinstance(self.configs, str) else self.configs
        return [self._open(config) for config in configs] if configs else [self._open(None)]

    def view(self, table: Table) -> Table:
        return table if self.limit_per_config is None else Sampled(table, self.limit_per_config, self.seed)

    @property
    def _folder(self) -> Path | None:
        path = Path(self.dataset).expanduser()
        return path if path.is_dir() else None

    @property
    def _saved(self) -> bool:
        """Whether the folder is one that `save_to_disk` wrote."""
        folder = self._folder
        return folder is not None and any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))

    def _open(self, config: str | None) -> ArrowTable:
        base = self.dataset if self._folder is None else self._folder.resolve().name
        name = "/".join(part for part in (base, config, self.split) if part is not None)
        return ArrowTable(self._load(config), name, origin=name, folder=self._folder)

    def _load(self, config: str | None) -> Dataset:
        if self._saved:
            return self._load_saved(config)
        import datasets

        where = str(self._folder or self.dataset)
        try:
            return datasets.load_dataset(where, config, split=self.split, revision=self.revision)
        except Exception as error:  # of a dozen kinds; the message of each says what is wrong
            chosen = "" if config is None else f" config {config!r},"
            raise ValueError(
                f"{self.title}: {self.dataset},{chosen} split {self.split!r}: {with_cause(error)}"
            ) from error

    def _load_saved(self, config: str | None) -> Dataset:
        import datasets

        if config is not None:
            raise ValueError(
                f"{self.title}: {self.dataset} was saved without configs; {config!r} is not to be found in it"
            )
        try:
            saved = datasets.load_from_disk(str(self._folder))
        except Exception as error:  # an empty data set, or a damaged file
            raise ValueError(f"{self.title}: {self.dataset} cannot be read: {with_cause(error)}") from error
        if isinstance(saved, datasets.Dataset):
            splits = {self.split if saved.split is None else str(saved.split): saved}
        else:
            splits = dict(saved)
        if self.split not in splits:
            near = did_you_mean(self.split, splits)
            raise ValueError(
                f"{self.title}: {self.dataset} has no split {self.split!r}{near}\n  splits: {', '.join(splits)}"
            )
        return splits[self.split]
