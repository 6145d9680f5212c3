"""Metrics by step: from MLflow, and from what a run's directory keeps for it."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path

from recap.runs.spill import FOLDER, QUEUE
from recap.runs.stored_run import Store

Series = dict[str, dict[int, float]]
"""Metric -> step -> value; of a step that was logged twice the last."""

READ = ("reward/", "convergence/", "instability/", "weight/", "capability", "completion_", "thinking_", "step_seconds")
"""How the metrics begin that a report or a study reads; a run has many more."""


def read_series(store: Store | None, directory: Path | None) -> tuple[Series, list[str]]:
    """The metrics of a run that a report draws, and what is not here.

    Args:
        directory: of the run, which keeps what MLflow has not got.
    """
    series: Series = {}
    lacking = []
    if store is None:
        lacking.append("nothing says where it is in MLflow: what it logged by step is not here")
    else:
        try:
            series = _from_mlflow(store)
        except Exception as error:  # whatever MLflow, a database or a network has to say
            lacking.append(
                f"MLflow at {store.shown(store.uri)} does not answer, so that what it logged by step is not here:"
                f" {store.reason(error)}"
            )
    for name, points in _undelivered(directory).items():
        series.setdefault(name, {}).update(points)
    return series, lacking


def _from_mlflow(store: Store) -> Series:
    client = store.client()
    names = [name for name in client.get_run(store.run_id).data.metrics if name.startswith(READ)]
    return {
        name: {point.step: point.value for point in client.get_metric_history(store.run_id, name)} for name in names
    }


def _undelivered(directory: Path | None) -> Series:
    """What stands in the queue of a run; a line that was torn by a kill is passed over."""
    series: Series = {}
    file = directory / FOLDER / QUEUE if directory else None
    if file is None or not file.is_file():
        return series
    for line in file.read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            entry = json.loads(line)
            for name, value in entry.get("values", {}).items():
                if name.startswith(READ) and math.isfinite(value):
                    series.setdefault(name, {})[entry["step"]] = value
    return series
