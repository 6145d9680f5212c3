"""What a process other than the first says of a run that it ends: the first may wait for it in vain, and never speak again."""

from __future__ import annotations

import threading
from contextlib import suppress

from recap.experiment.run_settings import Tracking
from recap.runs.mlflow_store import connect

WAIT_S = 15.0  # a launcher kills the other processes half a minute after the first has died


def say_failed(settings: Tracking, run_id: str | None) -> None:
    """Closes a run as FAILED, if MLflow can be had soon; nothing is raised."""
    if run_id is None:
        return

    def close() -> None:
        with suppress(Exception):
            connect(settings.resolved_uri).set_terminated(run_id, status="FAILED")

    thread = threading.Thread(target=close, daemon=True, name="recap-last-word")
    thread.start()
    thread.join(WAIT_S)
