"""A run's directory: what started the run, and what it left to go on from.

```
RUN/run.json                the experiment file, bindings and plugins, and the MLflow run: from before the first step
RUN/operative_config.gin    the gin configuration as it took effect
RUN/checkpoint-000100/      see `recap.runs.checkpoint`
RUN/checkpoint-best         a link to the best of them
RUN/model/                  the trained model
```
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from recap.experiment.config import Command
from recap.runs.checkpoint import STATE_FILE

RECORD_FILE = "run.json"
CONFIG_FILE = "operative_config.gin"


@dataclass(frozen=True)
class RunRecord:
    """How to start a run again.

    Attributes:
        mlflow_run_id: where its metrics go.
        command: None for an experiment that was built in Python.
    """

    mlflow_run_id: str | None
    command: Command | None

    def write(self, directory: Path, operative_config: str) -> None:
        """Makes the directory and writes both files, the record last and at once: a directory that has one is whole."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / CONFIG_FILE).write_text(operative_config)
        partial = directory / f".{RECORD_FILE}"
        partial.write_text(json.dumps(asdict(self), indent=2))
        os.replace(partial, directory / RECORD_FILE)


def read_record(directory: Path) -> RunRecord:
    """What `RunRecord.write` wrote.

    Raises:
        ValueError: the directory holds no run.
    """
    file = directory / RECORD_FILE
    if not file.is_file():
        raise ValueError(f"{directory}: no run there (it has no {RECORD_FILE} and is no checkpoint of a run)")
    found = json.loads(file.read_text())
    command = found["command"]
    if command is not None:
        command = Command(command["file"], tuple(command["bindings"]), tuple(command["plugins"]))
    return RunRecord(found["mlflow_run_id"], command)


def run_directory(resume: Path) -> Path:
    """The directory of the run that a path means: of a run, or of one of its checkpoints."""
    return resume.resolve().parent if (resume / STATE_FILE).is_file() else resume


def started_with(
    resume: Path, file: Path | None, bindings: Sequence[str], plugins: Sequence[str]
) -> tuple[Path, list[str], list[str]]:
    """File, bindings and plugins to resume a run with: its own, then those given now; a file given now replaces its own.

    Raises:
        ValueError: no run there, or one that was started from Python and so needs a file.
    """
    if file is not None:
        return file, list(bindings), list(plugins)
    command = read_record(run_directory(resume)).command
    if command is None:
        raise ValueError(f"{resume}: this run was started from Python and knows no experiment file; name it too")
    return Path(command.file), [*command.bindings, *bindings], [*command.plugins, *plugins]


def changes(directory: Path, operative_config: str) -> list[str]:
    """Lines of the configuration that are not those with which the run was started, as a diff."""
    file = directory / CONFIG_FILE
    before = [line for line in file.read_text().splitlines() if not line.startswith("#")] if file.is_file() else []
    after = [line for line in operative_config.splitlines() if not line.startswith("#")]
    if not before:
        return []
    difference = difflib.unified_diff(before, after, lineterm="", n=0)
    return [line for line in difference if line[:1] in "+-" and line[:3] not in ("+++", "---") and line[1:].strip()]
