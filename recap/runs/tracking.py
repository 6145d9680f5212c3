"""MLflow: every run's configuration, metrics, rollouts, scores, environment and revision."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recap.experiment.run_settings import Tracking

FLUSH_EVERY_S = 5.0  # a batch of metrics takes the database about as long as a single one
MAX_METRICS_PER_CALL = 1000  # MLflow's own limit
TABLE = "rollouts.json"


class Tracker:
    """One MLflow run. Metrics are buffered and written a batch at a time, so that logging costs a step nothing.

    Args:
        settings: where.
        run_name: shown in MLflow.
        run_id: of a run to go on with; None starts a new one.
        step: of the checkpoint that the run goes on from. What the run holds of later steps stays, and is not logged again:
            a killed process may have logged steps that no checkpoint has.
        enabled: false on every process but the main one: then nothing is logged.

    Raises:
        ValueError: the run to go on with is not there.
    """

    def __init__(
        self, settings: Tracking, run_name: str, *, run_id: str | None = None, step: int = 0, enabled: bool = True
    ) -> None:
        self.settings = settings
        self.enabled = enabled
        self.run_id = run_id
        self._buffer: list[Any] = []
        self._flushed_at = time.monotonic()
        self._held: set[tuple[str, int]] = set()  # metrics and steps from `step` on that a resumed run has already
        self._held_tables: set[int] = set()  # steps of its table of rollouts
        if not enabled:
            return
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar per table, on top of ours
        from mlflow import MlflowClient

        uri = settings.resolved_uri
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(tracking_uri=uri)
        if run_id is None:
            run = self.client.create_run(_experiment_id(self.client, settings), run_name=run_name)
            self.run_id = run.info.run_id
        else:
            self._go_on(run_id, step)

    def describe(self, parameters: Mapping[str, Any], operative_config: str) -> None:
        """Logs what a new run is made of: parameters, gin configuration, environment and revision."""
        if not self.enabled:
            return
        from mlflow.entities import Param, RunTag

        tags = {**source_tags(), **self.settings.tags}
        params = [Param(name, str(value)[:6000]) for name, value in parameters.items()]
        self.client.log_batch(self.run_id, params=params, tags=[RunTag(name, value) for name, value in tags.items()])
        self.client.log_text(self.run_id, operative_config, "operative_config.gin")
        self.client.log_text(self.run_id, json.dumps(environment(), indent=2), "environment.json")

    def _go_on(self, run_id: str, step: int) -> None:
        """Opens a run again, and finds out what it holds."""
        from mlflow.exceptions import MlflowException

        try:
            keys = self.client.get_run(run_id).data.metrics
        except MlflowException as error:
            raise ValueError(
                f"MLflow at {self.settings.resolved_uri} has no run {run_id} to go on with ({error.message}); bind"
                " tracking.uri, or set MLFLOW_TRACKING_URI, to where the run was started"
            ) from error
        self.client.update_run(run_id, status="RUNNING")
        for key in keys:
            self._held |= {(key, metric.step) for metric in self.client.get_metric_history(run_id, key)}
        self._held = {(key, at) for key, at in self._held if at >= step}
        if any(item.path == TABLE for item in self.client.list_artifacts(run_id)):
            with tempfile.TemporaryDirectory() as folder:
                text = Path(self.client.download_artifacts(run_id, TABLE, folder)).read_text()
            try:
                table = json.loads(text)
                self._held_tables = {row[table["columns"].index("step")] for row in table["data"]}
            except ValueError:  # killed while it was written
                self.client.log_dict(run_id, {"columns": [], "data": []}, TABLE)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of one step; values that are not finite are left out, as MLflow's charts cannot show them."""
        if not self.enabled:
            return
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        self._buffer += [
            Metric(name, float(value), now, step)
            for name, value in metrics.items()
            if math.isfinite(value) and (name, step) not in self._held
        ]
        if len(self._buffer) >= MAX_METRICS_PER_CALL or time.monotonic() - self._flushed_at > FLUSH_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Writes what is buffered."""
        if not self.enabled:
            return
        while self._buffer:
            self.client.log_batch(self.run_id, metrics=self._buffer[:MAX_METRICS_PER_CALL], synchronous=True)
            del self._buffer[:MAX_METRICS_PER_CALL]
        self._flushed_at = time.monotonic()

    def table(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Adds rows to the table of sampled rollouts (`rollouts.json`); every row has the same columns, `step` in it."""
        if not self.enabled or not rows or step in self._held_tables:
            return
        columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in rows[0]}
        self.client.log_table(self.run_id, columns, TABLE)

    def finish(self, status: str) -> None:
        """Closes the run as FINISHED, FAILED or KILLED."""
        if self.enabled:
            self.flush()
            self.client.set_terminated(self.run_id, status=status)


def _experiment_id(client: Any, settings: Tracking) -> str:
    """The MLflow experiment's id; a new one in a local database keeps its artifacts beside the database."""
    found = client.get_experiment_by_name(settings.experiment)
    if found is not None:
        return str(found.experiment_id)
    location = None
    if settings.resolved_uri.startswith("sqlite:///"):
        database = Path(settings.resolved_uri.removeprefix("sqlite:///")).resolve()
        location = (database.parent / "artifacts" / settings.experiment).as_uri()
    return str(client.create_experiment(settings.experiment, artifact_location=location))


def source_tags() -> dict[str, str]:
    """The git revision of the working directory, where there is one."""
    revision = _git("rev-parse", "HEAD")
    if revision is None:
        return {}
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return {"mlflow.source.git.commit": revision, "git.dirty": str(bool(changed)).lower()}


def environment() -> dict[str, Any]:
    """Python, machine, accelerator and the version of every installed package."""
    import torch

    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    packages = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "devices": devices,
        "git": source_tags(),
        "packages": dict(sorted(packages.items(), key=lambda item: str(item[0]).lower())),
    }


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
