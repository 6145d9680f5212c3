"""Where a run is in MLflow, found from its directory."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from recap.experiment.run_settings import Tracking
from recap.runs.errors import first_line
from recap.runs.mlflow_store import SQLITE, connect
from recap.runs.run_directory import RECORD_FILE, read_record
from recap.runs.spill import FOLDER, WHERE


class Store(NamedTuple):
    """A run in MLflow."""

    uri: str
    run_id: str

    def shown(self, text: str) -> str:
        """A text for a page that others read: without the store's password."""
        password = urlsplit(self.uri).password
        return text.replace(password, "***") if password else text

    def reason(self, error: Exception) -> str:
        """What went wrong, in a line, for such a page."""
        return self.shown(first_line(error))

    def client(self) -> Any:
        """Of MLflow.

        Raises:
            ValueError: a local database that is not there, which MLflow itself would make.
        """
        if self.uri.startswith(SQLITE) and not Path(self.uri.removeprefix(SQLITE)).is_file():
            raise ValueError(f"there is no database at {self.uri}")
        return connect(self.uri)

    def parameters(self) -> dict[str, str]:
        """Of the run; none where MLflow does not answer."""
        with suppress(Exception):
            return dict(self.client().get_run(self.run_id).data.params)
        return {}


def store_of(directory: Path, settings: Tracking) -> Store | None:
    """Where a run is in MLflow, as its directory says."""
    place = directory / FOLDER / WHERE
    if place.is_file():
        found = json.loads(place.read_text())
        return Store(found["uri"] or settings.resolved_uri, found["run_id"])
    record = read_record(directory) if (directory / RECORD_FILE).is_file() else None
    return Store(settings.resolved_uri, record.mlflow_run_id) if record and record.mlflow_run_id else None
