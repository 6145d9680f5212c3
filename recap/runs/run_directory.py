"""A run's directory: what started the run, and what it left to go on from.

```
RUN/run.json                how to start the run again, and the MLflow run: from before the first step
RUN/operative_config.gin    the gin configuration as it took effect
RUN/weights.jsonl           λ of every step, see `registry.reweighting.record`
RUN/step                    the number of the step that was begun last
RUN/checkpoint-000100/      see `recap.runs.checkpoint`
RUN/checkpoint-best         a link to the best of them
RUN/tracking/               see `recap.runs.spill`
RUN/model/                  the trained model
```
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from recap.experiment.config import Command
from recap.runs.checkpoint import STATE_FILE, followed
from registry.reweighting.record import WEIGHTS_FILE, append_weights, read_weights

RECORD_FILE = "run.json"
CONFIG_FILE = "operative_config.gin"
STEP_FILE = "step"


@dataclass(frozen=True)
class RunRecord:
    """How to start a run again.

    Attributes:
        mlflow_run_id: where its metrics go.
        command: None for an experiment that was built in Python.
        working_directory: where it was started: paths in its files are relative to it.
        forked_from: of a fork: the directory, MLflow run and step of the run that it began as.
        passed_over: steps, counted from 1, whose prompts are left out.
        finished: whether all of its steps were taken, and nothing was left to do.
    """

    mlflow_run_id: str | None
    command: Command | None
    working_directory: str = field(default_factory=os.getcwd)
    forked_from: Mapping[str, Any] | None = None
    passed_over: tuple[int, ...] = ()
    finished: bool = False

    def write(self, directory: Path, operative_config: str) -> None:
        """Makes the directory and writes both files, the record last and at once: a directory that has one is whole.

        Raises:
            ValueError: another run has taken the directory.
        """
        partial = self._partial(directory, operative_config)
        try:
            os.link(partial, directory / RECORD_FILE)  # of two runs, only one can
        except FileExistsError:
            raise ValueError(f"{directory}: another run has taken this directory; choose another") from None
        except OSError:  # a file system without links
            os.replace(partial, directory / RECORD_FILE)
        partial.unlink(missing_ok=True)

    def rewrite(self, directory: Path, operative_config: str) -> None:
        """Puts this in the place of what the run's directory says."""
        os.replace(self._partial(directory, operative_config), directory / RECORD_FILE)

    def _partial(self, directory: Path, operative_config: str) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        if operative_config:
            (directory / CONFIG_FILE).write_text(operative_config)
        partial = directory / f".{RECORD_FILE}.{os.getpid()}"
        partial.write_text(json.dumps(asdict(self), indent=2))
        return partial

    def changed(self, command: Command | None, passed_over: Sequence[int] = ()) -> RunRecord:
        """The same run, gone on with by another command and without some more steps."""
        steps = tuple(dict.fromkeys([*self.passed_over, *passed_over]))
        return replace(self, command=command or self.command, passed_over=steps, finished=False)

    def done(self) -> RunRecord:
        return replace(self, finished=True)


def read_record(directory: Path) -> RunRecord:
    """What `RunRecord.write` wrote.

    Raises:
        ValueError: the directory holds no run, or one whose record is damaged.
    """
    file = directory / RECORD_FILE
    if not file.is_file():
        raise ValueError(f"{directory}: no run there (it has no {RECORD_FILE} and is no checkpoint of a run)")
    try:
        found = json.loads(file.read_text())
        command = found.pop("command")
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{file} is damaged ({error}); it says how the run was started, and nothing else does: restore it from a copy"
        ) from error
    if command is not None:
        command = Command(command["file"], tuple(command["bindings"]), tuple(command["plugins"]))
    found["passed_over"] = tuple(found.get("passed_over", ()))
    return RunRecord(command=command, **{"working_directory": "", **found})


def run_directory(resume: Path) -> Path:
    """The directory of the run that a path means: of a run, or of one of its checkpoints."""
    resume = followed(resume)
    return resume.resolve().parent if (resume / STATE_FILE).is_file() else resume


def free_run_directory(directory: Path) -> None:
    """Raises ValueError where a directory belongs to a run already."""
    if (directory / RECORD_FILE).exists():
        raise ValueError(
            f"--output {directory}: a run is there already. Go on with it: recap train --resume {directory}"
            " (or choose another directory)"
        )


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
    earlier = [binding for binding in command.bindings if binding not in bindings]
    return Path(command.file), [*earlier, *bindings], list(dict.fromkeys([*command.plugins, *plugins]))


def go_where_it_was_started(resume: Path) -> str | None:
    """Makes the run's working directory this process's: paths in its files, and where MLflow is, mean what they meant.

    Returns: what a person should know, where that directory is not the present one.
    """
    run = run_directory(resume)
    wanted = read_record(run).working_directory if (run / RECORD_FILE).is_file() else ""
    if not wanted or Path(wanted) == Path.cwd():
        return None
    try:
        os.chdir(wanted)
    except OSError:
        return f"the run was started in {wanted}, which is not here: relative paths are taken from {Path.cwd()}"
    return f"relative paths are taken from {wanted}, where the run was started"


def changes(directory: Path, operative_config: str) -> list[str]:
    """Lines of the configuration that are not those of the run so far, as a diff."""
    before, after = _lines(former_config(directory)), _lines(operative_config)
    if not before or not after:
        return []
    difference = difflib.unified_diff(before, after, lineterm="", n=0)
    return [line for line in difference if line[:1] in "+-" and line[:3] not in ("+++", "---") and line[1:].strip()]


def former_config(directory: Path) -> str:
    """The configuration of a run so far; empty where none was kept."""
    file = directory / CONFIG_FILE
    return file.read_text() if file.is_file() else ""


def _lines(config: str) -> list[str]:
    return [line for line in config.splitlines() if not line.startswith("#")]


def note_step(directory: Path, step: int) -> None:
    """Notes the step that begins now, from 1: should it kill the process, `--skip-step` knows which one it was."""
    with suppress(OSError):  # a full disk ends no run
        (directory / STEP_FILE).write_text(str(step))


def note_weights(directory: Path, step: int, weights: Mapping[str, float]) -> None:
    """Notes the λ that a step was taken with."""
    with suppress(OSError):  # a full disk ends no run
        append_weights(directory / WEIGHTS_FILE, step, weights)


def inherit_weights(directory: Path, other: Path, step: int) -> None:
    """Takes over what another run noted of its steps up to one, for a run that begins there."""
    if (other / WEIGHTS_FILE).is_file():
        for number, weights in enumerate(read_weights(other)[:step], 1):
            note_weights(directory, number, weights)


def last_step_begun(directory: Path) -> int:
    """What was noted last; 0 where nothing was."""
    try:
        return int((directory / STEP_FILE).read_text())
    except (OSError, ValueError):
        return 0
