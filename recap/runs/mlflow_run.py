"""One run in MLflow: opened before a model is loaded, with one readable error, and what sends entries to it."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from recap.experiment.run_settings import Tracking
from recap.runs.artifacts import Artifacts
from recap.runs.mlflow_models import send_model
from recap.runs.mlflow_traces import send_group
from recap.runs.spill import Entry

MAX_METRICS_PER_CALL = 1000  # MLflow's own limits
MAX_PARAMS_PER_CALL = 100
TABLES = "rollouts"  # the folder of the tables, one file per step
OPEN_WAIT_S = 120.0
SQLITE = "sqlite:///"
SQLITE_WAIT_S = 5.0  # as MLflow's own connections
HTTP = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}  # s; the queue tries again itself

T = TypeVar("T")


class Refused(Exception):
    """MLflow is there and will never take this."""


class MLflowRun:
    """Sends entries to a run.

    Args:
        uri: MLflow's, resolved.
        run_id: an existing run.
        directory: of the run, where entries name files in it.
    """

    def __init__(self, uri: str, run_id: str, directory: Path) -> None:
        self.client = connect(uri)
        self.run_id = run_id
        self.artifacts = Artifacts(self.client, run_id, directory)

    def send(self, entries: Sequence[Entry], look: bool) -> int:
        """Delivers the first entries; whatever happens on the way, sending the same again does no harm.

        Args:
            look: they may have arrived already: metrics that did are not sent again.

        Returns: how many.

        Raises:
            Refused: MLflow will never take the first of them.
            Exception: whatever MLflow, a database or a network has to say.
        """
        first = entries[0]
        try:
            if "values" not in first:
                self._send_other(first)
                return 1
            count, points = 0, 0
            for entry in entries:
                points += len(entry.get("values", ()))
                if "values" not in entry or points > MAX_METRICS_PER_CALL:
                    break
                count += 1
            self._send_metrics(entries[:count], look)
            return count
        except Exception as error:
            if getattr(error, "error_code", "") in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST") and self._is_active():
                raise Refused(str(error)) from error
            raise

    def _send_metrics(self, entries: Sequence[Entry], look: bool) -> None:
        from mlflow.entities import Metric

        found = self._arrived(entries) if look else set()
        metrics = [
            Metric(name, value, entry["at"], entry["step"])
            for entry in entries
            for name, value in entry["values"].items()
            if (name, entry["step"]) not in found
        ]
        if metrics:
            self.client.log_batch(self.run_id, metrics=metrics, synchronous=True)

    def _arrived(self, entries: Sequence[Entry]) -> set[tuple[str, int]]:
        """Which of these metrics the run holds; only where its newest step allows for it is the history read."""
        first = {name: entry["step"] for entry in reversed(entries) for name in entry["values"]}
        newest = {metric.key: metric.step for metric in self.client.get_run(self.run_id).data.to_proto().metrics}
        suspects = [name for name, step in first.items() if newest.get(name, -1) >= step]
        return held(self.client, self.run_id, suspects, min(first.values(), default=0))

    def _send_other(self, entry: Entry) -> None:
        from mlflow.entities import Param, RunTag

        client, run_id = self.client, self.run_id
        if "file" in entry or "local" in entry:
            self.artifacts.send(entry)
        elif "group" in entry:
            send_group(client, run_id, entry["group"])
        elif "model" in entry:
            send_model(client, run_id, entry["model"])
        elif "params" in entry:
            params = [Param(name, value) for name, value in entry["params"].items()]
            for start in range(0, len(params), MAX_PARAMS_PER_CALL):
                client.log_batch(run_id, params=params[start : start + MAX_PARAMS_PER_CALL], synchronous=True)
        elif "tags" in entry:
            client.log_batch(run_id, tags=[RunTag(*tag) for tag in entry["tags"].items()], synchronous=True)
        elif entry["status"] == "RUNNING":
            client.update_run(run_id, status="RUNNING")
        else:
            client.set_terminated(run_id, status=entry["status"], end_time=entry["at"])

    def _is_active(self) -> bool:
        """Not deleted: of a deleted run MLflow says the same as of a value that it will never take."""
        return str(self.client.get_run(self.run_id).info.lifecycle_stage) == "active"


def held(client: Any, run_id: str, names: Sequence[str], step: int) -> set[tuple[str, int]]:
    """Names and steps of the metrics that a run holds, from a step on."""
    points = ((name, metric.step) for name in names for metric in client.get_metric_history(run_id, name))
    return {point for point in points if point[1] >= step}


def connect(uri: str) -> Any:
    """A client of MLflow that gives up soon: who calls tries again."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar per table, on top of ours
    for name, value in HTTP.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    # A database that is locked for an hour is said once, by whoever calls: not with two tracebacks an attempt.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    return MlflowClient(tracking_uri=_absolute(uri))


def _absolute(uri: str) -> str:
    """MLflow keeps one open database per address as written: a relative one would outlive a change of directory."""
    scheme, path = uri[: len(SQLITE)], uri[len(SQLITE) :]
    return scheme + os.path.abspath(path) if scheme == SQLITE and not path.startswith(("/", ":")) else uri


def start_run(settings: Tracking, run_name: str, files: Mapping[str, str]) -> str:
    """A new run with its first files; returns its id.

    Raises:
        ValueError: MLflow cannot be used as configured; the message names the binding.
    """

    def start() -> str:
        check_sqlite(settings.resolved_uri)
        client = connect(settings.resolved_uri)
        run = client.create_run(_experiment_id(client, settings), run_name=run_name)
        try:
            for name, text in files.items():
                client.log_text(run.info.run_id, text, name)
        except Exception as error:
            client.set_terminated(run.info.run_id, status="FAILED")
            raise ValueError(
                f"files cannot be written to {run.info.artifact_uri} ({_first_line(error)}), where the MLflow experiment"
                f" {settings.experiment!r} keeps them; make it writable, or bind another tracking.experiment"
            ) from error
        return str(run.info.run_id)

    return _readable(start, settings)


@dataclass(frozen=True)
class Found:
    """A run that is there: its status and metrics, and when the last of them was logged (ms; 0: never)."""

    status: str
    metrics: tuple[str, ...]
    last_metric_at: int


def find_run(settings: Tracking, run_id: str) -> Found:
    """A run to go on with.

    Raises:
        ValueError: the run is not there or deleted, or MLflow cannot be used.
    """
    return _readable(lambda: _find(settings, run_id), settings)


def reopen_run(settings: Tracking, run_id: str, step: int) -> set[tuple[str, int]]:
    """Sets a run to RUNNING; returns names and steps of the metrics that it holds from `step` on.

    Raises:
        ValueError: the run is not there or deleted, or MLflow cannot be used.
    """

    def reopen() -> set[tuple[str, int]]:
        found = _find(settings, run_id)
        client = connect(settings.resolved_uri)
        client.update_run(run_id, status="RUNNING")
        return held(client, run_id, found.metrics, step)

    return _readable(reopen, settings)


def _find(settings: Tracking, run_id: str) -> Found:
    from mlflow.exceptions import MlflowException

    check_sqlite(settings.resolved_uri)
    try:
        run = connect(settings.resolved_uri).get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise ValueError(
            f"MLflow at {settings.resolved_uri} has no run {run_id} to go on with ({error.message}); bind"
            " tracking.uri, or set MLFLOW_TRACKING_URI, to where the run was started"
        ) from error
    if run.info.lifecycle_stage != "active":
        raise ValueError(
            f"the MLflow run {run_id} to go on with was deleted; restore it: mlflow runs restore --run-id {run_id}"
        )
    metrics = run.data.to_proto().metrics
    last = max((int(metric.timestamp) for metric in metrics), default=0)
    return Found(run.info.status, tuple(run.data.metrics), last)


def check_sqlite(uri: str) -> None:
    """Whether a local database can be written now; MLflow itself would try for minutes.

    Raises:
        ValueError: it cannot, and why.
    """
    if not uri.startswith(SQLITE):
        return
    path = Path(uri.removeprefix(SQLITE))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
    except OSError as error:
        raise ValueError(f"the database {path} cannot be written ({error})") from error
    connection = sqlite3.connect(path, timeout=SQLITE_WAIT_S)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
    except sqlite3.Error as error:
        locked = "; another process holds it: wait for it, or end it" if "locked" in str(error) else ""
        raise ValueError(f"the database {path} cannot be written ({error}{locked})") from error
    finally:
        connection.close()


def _experiment_id(client: Any, settings: Tracking) -> str:
    """The MLflow experiment's id; a new one in a local database keeps its artifacts beside the database."""
    found = client.get_experiment_by_name(settings.experiment)
    if found is not None and found.lifecycle_stage != "active":
        raise ValueError(
            f"the MLflow experiment {settings.experiment!r} (tracking.experiment) was deleted; bind another name, or"
            f" restore it: mlflow experiments restore --experiment-id {found.experiment_id}"
        )
    if found is not None:
        return str(found.experiment_id)
    location = None
    if settings.resolved_uri.startswith(SQLITE):
        database = Path(settings.resolved_uri.removeprefix(SQLITE)).resolve()
        location = (database.parent / "artifacts" / settings.experiment).as_uri()
    return str(client.create_experiment(settings.experiment, artifact_location=location))


def _readable(work: Callable[[], T], settings: Tracking) -> T:
    """The result of `work`; whatever goes wrong, or takes too long, is one ValueError that names the binding."""
    results: list[T] = []
    errors: list[Exception] = []

    def collect() -> None:
        try:
            results.append(work())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=collect, daemon=True, name="recap-mlflow-open")
    thread.start()
    thread.join(OPEN_WAIT_S)
    if results:
        return results[0]
    bound = f"tracking.uri = {settings.resolved_uri!r}"
    if not errors:
        raise ValueError(f"{bound}: MLflow has not answered for {OPEN_WAIT_S:.0f} s; is it there?")
    if isinstance(errors[0], ValueError):
        raise ValueError(f"{bound}: {errors[0]}") from errors[0]
    raise ValueError(
        f"{bound}: MLflow cannot be used ({_first_line(errors[0])}); start its server, or bind tracking.uri or set"
        " MLFLOW_TRACKING_URI to where it is"
    ) from errors[0]


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"
