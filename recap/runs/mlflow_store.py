"""MLflow itself: reached, a run started, found or taken up again, each with one readable error before a model is loaded."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from recap.experiment.run_settings import Tracking
from recap.runs.errors import first_line

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

OPEN_WAIT_S = 120.0
SQLITE = "sqlite:///"
SQLITE_WAIT_S = 5.0  # MLflow's own connections wait 20 s for a lock, whatever its address says
SERVED_WAIT_S = 5.0  # for a server to say that it is there
HTTP = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}  # s; the queue tries again itself
GIVEN_RUN = "MLFLOW_RUN_ID"  # MLflow's own variable: a run that somebody else has made, to be logged to

T = TypeVar("T")


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
    return MlflowClient(tracking_uri=absolute(uri))


def absolute(uri: str) -> str:
    """MLflow keeps one open database per address as written: a relative one would outlive a change of directory."""
    scheme, path = uri[: len(SQLITE)], uri[len(SQLITE) :]
    return scheme + os.path.abspath(path) if scheme == SQLITE and not path.startswith(("/", ":")) else uri


def is_own(uri: str) -> bool:
    """Whether this process does a store's work itself, in a file: then nobody can be away, and a lock ends by itself."""
    return urlsplit(uri).scheme in ("", "file", "sqlite")


def is_served(uri: str) -> bool:
    """Whether somebody is there who may be at work on a request: this process, or a server that answers another one.

    A database server is not asked: its own client knows when it is gone.
    """
    if is_own(uri):
        return True
    if urlsplit(uri).scheme not in ("http", "https"):
        return False
    try:
        return requests.get(f"{uri.rstrip('/')}/health", timeout=SERVED_WAIT_S).status_code < 500
    except (requests.RequestException, ValueError):
        return False


def start_run(settings: Tracking, run_name: str, files: Mapping[str, str]) -> str:
    """A new run, or the one that MLFLOW_RUN_ID names, with its first files; returns its id.

    Raises:
        ValueError: MLflow cannot be used as configured; the message names the binding.
    """

    def start() -> str:
        check_sqlite(settings.resolved_uri)
        with _alone(settings.resolved_uri):
            client = connect(settings.resolved_uri)  # which makes the tables
        if given := os.environ.get(GIVEN_RUN):
            _find(settings, given)
            client.update_run(given, status="RUNNING")
            run = client.get_run(given)
        else:
            run = client.create_run(_experiment_id(client, settings), run_name=run_name)
        try:
            for name, text in files.items():
                client.log_text(run.info.run_id, text, name)
        except Exception as error:
            client.set_terminated(run.info.run_id, status="FAILED")
            raise ValueError(
                f"files cannot be written to {run.info.artifact_uri} ({first_line(error)}), where the MLflow experiment"
                f" {settings.experiment!r} keeps them; make it writable, or bind another tracking.experiment"
            ) from error
        return str(run.info.run_id)

    return _readable(start, settings)


@dataclass(frozen=True)
class Found:
    """A run that is there: its status and metrics, and when the last of them was logged (ms; 0: never)."""

    experiment_id: str
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
    return Found(str(run.info.experiment_id), run.info.status, tuple(run.data.metrics), last)


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
        # By SQLite's own means alone: a file that is opened and closed beside it takes all of this process's locks along.
        with closing(sqlite3.connect(path, timeout=SQLITE_WAIT_S)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except (OSError, sqlite3.Error) as error:
        locked = "; another process holds it: wait for it, or end it" if "locked" in str(error) else ""
        raise ValueError(f"the database {path} cannot be written ({error}{locked})") from error


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """No other process is in the block for this database: two that make its tables at once get in each other's way."""
    if fcntl is None or not uri.startswith(SQLITE):
        yield
        return
    with Path(uri.removeprefix(SQLITE) + ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


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
        f"{bound}: MLflow cannot be used ({first_line(errors[0])}); start its server, or bind tracking.uri or set"
        " MLFLOW_TRACKING_URI to where it is"
    ) from errors[0]
