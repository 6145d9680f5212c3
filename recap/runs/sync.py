"""`recap sync RUN`: brings to MLflow what a run could not, and what was measured after it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from pathlib import Path

from recap.experiment.run_settings import Tracking
from recap.runs.delivery import Delivery
from recap.runs.mlflow_run import MLflowRun
from recap.runs.mlflow_store import find_run
from recap.runs.run_directory import run_directory
from recap.runs.spill import FOLDER, REFUSED, WHERE, Entry, Spill

STUCK_AFTER_S = 90.0  # longer than two attempts at one request, which MLflow makes


def sync_run(run: Path) -> str:
    """Delivers what a run's directory keeps, also what MLflow has refused so far; closes the run as KILLED where its process
    died without a word.

    Args:
        run: run directory, or one of its checkpoints.

    Returns: what was done, for a person.

    Raises:
        ValueError: no run there, one that still goes on, or an MLflow that does not take it.
    """
    directory = run_directory(run)
    file = directory / FOLDER / WHERE
    if not file.is_file():
        raise ValueError(f"{run}: no run there that has something to deliver (it has no {FOLDER}/{WHERE})")
    place = json.loads(file.read_text())
    settings = Tracking(uri=place["uri"])  # of a URI with a password nothing was kept: the environment's is taken
    spill = Spill(directory)
    try:
        found = find_run(settings, place["run_id"])
        if found.status == "RUNNING" and spill.exclusive and not any("status" in entry for entry in spill.left()):
            last = max((entry["at"] for entry in spill.left() if "at" in entry), default=found.last_metric_at)
            spill.put({"status": "KILLED", "at": last or time.time_ns() // 1_000_000})
        spill.take_back()
        count = len(spill)
        delivery = Delivery(spill, MLflowRun(settings.resolved_uri, place["run_id"], directory))
        left = delivery.close(wait_s=math.inf, stuck_s=STUCK_AFTER_S)
    finally:
        spill.close()
    if left:
        raise ValueError(
            f"MLflow at {settings.resolved_uri} has taken {count - left} of {count} entries"
            f" ({delivery.error or 'it is slow'}); the others are still in {spill.folder}"
        )
    if delivery.refused:
        return (
            f"MLflow at {settings.resolved_uri} has run {place['run_id']} but for {delivery.refused} entries that it refuses"
            f" ({delivery.refusal}): see {spill.folder / REFUSED}"
        )
    return f"MLflow at {settings.resolved_uri} has all of run {place['run_id']}: {count} entries delivered"


def log_afterwards(directory: Path, entries: Iterable[Entry]) -> str:
    """Adds to what a run has in MLflow, through the run's queue: what MLflow does not take now can be synced.

    Args:
        directory: of a run that is over.

    Returns: what was done, for a person; nothing is raised.
    """
    if not (directory / FOLDER / WHERE).is_file():
        return "nothing was logged to MLflow: the run has no record of where it is there"
    try:
        spill = Spill(directory)
        for entry in entries:
            spill.put(entry)
        spill.save()
        spill.close()
        return sync_run(directory)
    except (ValueError, OSError) as error:
        return f"not all is in MLflow ({error}); when it is back: recap sync {directory}"
