"""Files of a run in MLflow: texts, tables that its page shows, and files of the run's directory."""

from __future__ import annotations

import json
import posixpath
from pathlib import Path
from typing import Any

from recap.experiment.run_settings import MAX_TAG_LENGTH
from recap.runs.spill import Entry

LOGGED_TABLES = "mlflow.loggedArtifacts"  # the tag by which MLflow knows that a file is a table


class Artifacts:
    """Sends files to a run; sending one again replaces it.

    Args:
        client: of MLflow.
        run_id: an existing run.
        directory: of the run, in which an entry with ``local`` names a file.
    """

    def __init__(self, client: Any, run_id: str, directory: Path) -> None:
        self.client = client
        self.run_id = run_id
        self.directory = directory
        self._tables: list[str] | None = None

    def send(self, entry: Entry) -> None:
        """One file: ``{file, text}``, with ``table`` where it is one; or ``{local}``, a path in the run's directory.

        A local file that is no longer there is passed over.
        """
        if "local" in entry:
            path = self.directory / entry["local"]
            if path.is_file():
                self.client.log_artifact(self.run_id, str(path), posixpath.dirname(entry["local"]))
            return
        self.client.log_text(self.run_id, entry["text"], entry["file"])
        if entry.get("table"):
            self._show_table(entry["file"])

    def _show_table(self, file: str) -> None:
        """As `MlflowClient.log_table` does, but for the newest tables alone: a tag has 8,000 characters."""
        if self._tables is None:
            found = json.loads(self.client.get_run(self.run_id).data.tags.get(LOGGED_TABLES, "[]"))
            self._tables = [table["path"] for table in found]
        self._tables = [*(path for path in self._tables if path != file), file]
        while len(tag := json.dumps([{"path": path, "type": "table"} for path in self._tables])) > MAX_TAG_LENGTH:
            del self._tables[0]
        self.client.set_tag(self.run_id, LOGGED_TABLES, tag)
