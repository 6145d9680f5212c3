"""One run in MLflow, and what sends entries to it."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path

from recap.runs.artifacts import Artifacts
from recap.runs.mlflow_models import send_model
from recap.runs.mlflow_store import connect, is_own, is_served
from recap.runs.mlflow_traces import send_groups
from recap.runs.run_inputs import send_inputs
from recap.runs.spill import Entry

MAX_METRICS_PER_CALL = 1000  # MLflow's own limits
MAX_PARAMS_PER_CALL = 100
TRACES_PER_CALL = 32  # completions whose texts go together: of a step's groups, as they are sampled
TABLES = "rollouts"  # the folder of the tables, one file per step
PROBE = "recap.probe"  # a tag that is there for a moment


class MLflowRun:
    """Sends entries to a run.

    Args:
        uri: MLflow's, resolved.
        run_id: an existing run.
        directory: of the run, where entries name files in it.

    Attributes:
        is_own: whether this process does the store's work itself, as with a database file.
    """

    def __init__(self, uri: str, run_id: str, directory: Path) -> None:
        self.uri, self.is_own = uri, is_own(uri)
        self.client = connect(uri)
        self.run_id = run_id
        self.artifacts = Artifacts(self.client, run_id, directory)

    def send(self, entries: Sequence[Entry], look: bool) -> int:
        """Delivers the first entries; whatever happens on the way, sending the same again does no harm.

        Args:
            look: they may have arrived already: metrics that did are not sent again.

        Returns: how many.

        Raises:
            Exception: whatever MLflow, a database or a network has to say.
        """
        count = together(entries)
        if "values" in entries[0]:
            self._send_metrics(entries[:count], look)
        elif "group" in entries[0]:
            groups = [entry["group"] for entry in entries[:count]]
            send_groups(self.client, self.run_id, self._experiment_id, groups)
        else:
            self._send_other(entries[0])
        return count

    def takes_others(self) -> bool:
        """Whether the run can be written now, twice in a row: then what failed just before failed by itself.

        Reading would not tell: of a deleted run, a locked database and a full disk all can be read.
        """
        try:
            self.client.set_tag(self.run_id, PROBE, str(time.time_ns()))
            self.client.delete_tag(self.run_id, PROBE)
        except Exception:
            return False
        return True

    def is_served(self) -> bool:
        """Whether somebody may be at work on a request that is under way."""
        return is_served(self.uri)

    @functools.cached_property
    def _experiment_id(self) -> str:
        return str(self.client.get_run(self.run_id).info.experiment_id)

    def _send_metrics(self, entries: Sequence[Entry], look: bool) -> None:
        from mlflow.entities import Metric

        found = self._arrived(entries) if look else set()
        metrics = [
            Metric(name, value, entry["at"], entry["step"])
            for entry in entries
            for name, value in entry["values"].items()
            if (name, entry["step"], entry["at"]) not in found
        ]
        if metrics:
            self.client.log_batch(self.run_id, metrics=metrics, synchronous=True)

    def _arrived(self, entries: Sequence[Entry]) -> set[tuple[str, int, int]]:
        """Name, step and time of those of these metrics that the run may hold; only where its newest step allows for it is the
        history read. A step that was logged anew, at another time, is not the one that is there.
        """
        first = {name: entry["step"] for entry in reversed(entries) for name in entry["values"]}
        newest = {metric.key: metric.step for metric in self.client.get_run(self.run_id).data.to_proto().metrics}
        suspects = [name for name, step in first.items() if newest.get(name, -1) >= step]
        points = ((name, point) for name in suspects for point in self.client.get_metric_history(self.run_id, name))
        return {(name, point.step, point.timestamp) for name, point in points}

    def _send_other(self, entry: Entry) -> None:
        from mlflow.entities import Param, RunTag

        client, run_id = self.client, self.run_id
        if "file" in entry or "local" in entry:
            self.artifacts.send(entry)
        elif "inputs" in entry:
            send_inputs(client, run_id, entry["inputs"])
        elif "model" in entry:
            send_model(client, run_id, entry["model"])
        elif "params" in entry:
            params = [Param(name, value) for name, value in entry["params"].items()]
            client.log_batch(run_id, params=params, synchronous=True)
        elif "tags" in entry:
            client.log_batch(run_id, tags=[RunTag(*tag) for tag in entry["tags"].items()], synchronous=True)
        elif entry["status"] == "RUNNING":
            client.update_run(run_id, status="RUNNING")
        else:
            client.set_terminated(run_id, status=entry["status"], end_time=entry["at"])


def together(entries: Sequence[Entry]) -> int:
    """How many of the first entries are sent at once: metrics or groups, as many as may be, or a single other one."""
    kind = next((kind for kind in ("values", "group") if kind in entries[0]), None)
    if kind is None:
        return 1
    count, size = 0, 0
    for entry in entries:
        if kind not in entry:
            break
        size += len(entry["values"] if kind == "values" else entry["group"]["completions"])
        if count and size > (MAX_METRICS_PER_CALL if kind == "values" else TRACES_PER_CALL):
            break
        count += 1
    return count


def is_final(error: Exception) -> bool:
    """Whether MLflow says of a value that it will never take it. Of a deleted run it says the same."""
    return getattr(error, "error_code", "") in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
