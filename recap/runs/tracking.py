"""MLflow: every run's configuration, metrics, rollouts, scores, environment and revision."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from recap.experiment.run_settings import MAX_TAG_LENGTH, Tracking
from recap.runs.delivery import Delivery
from recap.runs.mlflow_run import MAX_METRICS_PER_CALL, MAX_PARAMS_PER_CALL, TABLES, MLflowRun
from recap.runs.mlflow_store import absolute, find_run, reopen_run, start_run
from recap.runs.provenance import environment
from recap.runs.run_page import RunPage
from recap.runs.slow_entries import SlowEntries
from recap.runs.spill import FOLDER, REFUSED, WHERE, Entry, Spill


class Tracker:
    """One MLflow run, which never hurts the training that it records.

    What is logged is put in a queue, and a thread delivers it. Once this object is made, nothing is raised: what MLflow does
    not take now is kept in the run's directory and delivered later, by the thread, when the run is resumed, or by
    `recap sync RUN`.

    Args:
        settings: where.
        run_name: shown in MLflow.
        directory: of the run; `tracking/` in it holds what is not delivered.
        run_id: of a run to go on with; None starts a new one.
        step: of the checkpoint that the run goes on from. What the run holds of later steps stays, and is not logged again:
            a killed process may have logged steps that no checkpoint has.
        same: whether the run goes on as it was. Where it does not, steps that it holds already are logged again: MLflow
            shows the values that came last.
        enabled: false on every process but the main one: then nothing is logged.

    Attributes:
        since: when the run began, in seconds of the clock; of a resumed one, when it first did.

    Raises:
        ValueError: MLflow cannot be used, or the run to go on with is not there, or another process is at it.
    """

    def __init__(
        self,
        settings: Tracking,
        run_name: str,
        directory: Path,
        *,
        run_id: str | None = None,
        step: int = 0,
        same: bool = True,
        enabled: bool = True,
    ) -> None:
        self.settings = settings
        self.directory = directory
        self.enabled = enabled
        self.run_id = run_id
        self._held: set[tuple[str, int]] = set()  # metrics and steps from `step` on that a resumed run has already
        self._said, self._said_refused = "", 0
        self.since = time.time()
        if not enabled:
            return
        self._spill = Spill(directory)
        try:
            if run_id is None:
                self.run_id = start_run(settings, run_name, {"environment.json": json.dumps(environment(), indent=2)})
            else:
                held = reopen_run(settings, run_id, step) | _points(self._spill)
                self._held = held if same else set()
                self._spill.put({"status": "RUNNING"})  # after the end that a former process may have left in the queue
            self.since = self._note_place()
            run = MLflowRun(settings.resolved_uri, str(self.run_id), directory)
        except BaseException:
            self._spill.close()
            raise
        self._slow = SlowEntries(self._spill)
        self._delivery = Delivery(self._spill, run)

    def _note_place(self) -> float:
        """Notes where the run is in MLflow, for who looks for it from its directory; returns when it first began."""
        file = self.directory / FOLDER / WHERE
        former = json.loads(file.read_text()) if file.is_file() else {}
        same = former if former.get("run_id") == self.run_id else {}
        place = {
            "run_id": self.run_id,
            "experiment_id": find_run(self.settings, str(self.run_id)).experiment_id,
            "uri": _lasting(self.settings.resolved_uri),
            "since": same.get("since", time.time()),
        }
        file.write_text(json.dumps(place))
        return float(place["since"])

    def describe(self, page: RunPage) -> None:
        """Logs what a new run is made of; tags of the user's own win."""
        if not self.enabled:
            return
        parameters = list(page.parameters.items())
        for start in range(0, len(parameters), MAX_PARAMS_PER_CALL):
            self._spill.put({"params": dict(parameters[start : start + MAX_PARAMS_PER_CALL])})
        self._spill.put({"tags": {**page.tags, **self.settings.tags}})
        for name, text in page.files.items():
            self._spill.put({"file": name, "text": text})
        self._spill.put({"inputs": list(page.inputs)})

    def changed(self, step: int, changes: Sequence[str], former: str, config: str) -> None:
        """Logs that a run goes on from `step` with another configuration; MLflow lets no parameter be logged anew.

        The file `operative_config.gin` is the present configuration, `operative_config_until_step_000100.gin` the one that
        steps up to 100 were taken with, and a tag has the lines that differ.
        """
        if not self.enabled:
            return
        self._spill.put({"tags": {f"recap.changed_at_step_{step:06d}": "\n".join(changes)[:MAX_TAG_LENGTH]}})
        self._spill.put({"file": f"operative_config_until_step_{step:06d}.gin", "text": former})
        self._spill.put({"file": "operative_config.gin", "text": config})

    def tag(self, tags: Mapping[str, str]) -> None:
        """More tags, or other values of those that are there."""
        if self.enabled and tags:
            self._spill.put({"tags": dict(tags)})

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of one step; values that are not finite are left out, as MLflow's charts cannot show them."""
        if not self.enabled:
            return
        now = _now()
        values = [
            (name, float(value))
            for name, value in metrics.items()
            if math.isfinite(value) and (name, step) not in self._held
        ]
        for start in range(0, len(values), MAX_METRICS_PER_CALL):
            self._spill.put({"step": step, "at": now, "values": dict(values[start : start + MAX_METRICS_PER_CALL])})

    def table(self, step: int, rows: Sequence[Mapping[str, Any]], folder: str = TABLES) -> None:
        """A table of one step, a file of its own (`rollouts/step-000020.json`); every row has the same columns."""
        if not self.enabled or not rows:
            return
        table = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
        text = json.dumps(table, default=str)
        self._spill.put({"file": f"{folder}/step-{step:06d}.json", "text": text, "table": True})

    def groups(self, groups: Sequence[Callable[[int], Entry]]) -> None:
        """Completions to look at, each a trace of its own: what makes the entry, given the time in ms, beside the training."""
        now = _now()
        for make in groups if self.enabled else ():
            self._slow.put(partial(make, now))

    def model(self, step: int, params: Mapping[str, str], kept: Sequence[int]) -> None:
        """The model of a step, 0 for the base model, with the scores that were logged for it.

        Args:
            kept: steps whose checkpoints are there.
        """
        if self.enabled:
            self._spill.put({"model": {"step": step, "params": dict(params), "kept": list(kept)}})

    def file(self, path: Path) -> None:
        """A file in the run's directory, which must stay there; in MLflow it is under the same folder."""
        if self.enabled:
            self._spill.put({"local": path.relative_to(self.directory).as_posix()})

    def flush(self) -> None:
        """What was logged so far will get to MLflow, even if this process is killed: what a checkpoint is past is not
        logged again."""
        if not self.enabled:
            return
        self._slow.wait()
        try:
            self._spill.save()
        except OSError as error:
            self._delivery.error = f"{self._spill.folder} cannot be written: {error}"

    def news(self) -> list[str]:
        """What a person should know of the delivery and was not told yet."""
        if not self.enabled:
            return []
        error, refused, lines = self._delivery.error, self._delivery.refused, []
        if refused > self._said_refused:
            lines.append(
                f"MLflow refuses {self._delivery.refusal}; the run goes on without, and {self._spill.folder / REFUSED} keeps it"
            )
        if bool(error) != bool(self._said):
            away = f"MLflow does not take what is logged ({error}); the run goes on, and {self._spill.folder} keeps it"
            lines.append(away if error else "MLflow takes what is logged again")
        self._said, self._said_refused = error, refused
        return lines

    def finish(self, status: str) -> list[str]:
        """Closes the run as FINISHED, FAILED or KILLED; waits a minute at most, for MLflow to take what is left.

        Returns: what a person should know: what is not delivered, and the command that delivers it.
        """
        if not self.enabled:
            return []
        self._slow.close()
        self._spill.put({"status": status, "at": _now()})
        self.flush()
        left = self._delivery.close()
        self._spill.close()
        self.enabled = False
        folder, notes = self._spill.folder, []
        if left:
            notes.append(
                f"MLflow has not taken the last {left} entries of this run ({self._delivery.error or 'it is slow'}); they are"
                f" in {folder}. When it is back: recap sync {self.directory}"
            )
        if self._delivery.refused:
            notes.append(
                f"MLflow refused {self._delivery.refused} entries of this run: see {folder / REFUSED}; recap sync"
                f" {self.directory} tries them again"
            )
        return notes


def status_of(error: BaseException) -> str:
    """How a run ends that this ends."""
    return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"


def _points(spill: Spill) -> set[tuple[str, int]]:
    return {(name, entry["step"]) for entry in spill.left() for name in entry.get("values", ())}


def _lasting(uri: str) -> str | None:
    """A URI that holds in every directory; None where it has a password, which is written nowhere."""
    return None if urlsplit(uri).password else absolute(uri)


def _now() -> int:
    """Milliseconds, as MLflow has them."""
    return time.time_ns() // 1_000_000
