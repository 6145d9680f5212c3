"""Use of the machine is measured beside a run, and what fails there is left out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from mlflow import MlflowClient

from recap.experiment.config import LoadedConfig
from recap.runs.run import Run
from recap.runs.system_metrics import SystemMetrics


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")


def test_a_run_has_the_use_of_its_machine(small: Callable[..., LoadedConfig], tmp_path: Path) -> None:
    run = Run(small("train.steps = 1").experiment, tmp_path / "run")
    run.execute()
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    metrics = client.get_run(str(run.tracker.run_id)).data.metrics
    assert 0 < metrics["system/system_memory_usage_percentage"] < 100
    assert metrics["system/cpu_utilization_percentage"] >= 0


def test_steps_are_seconds_since_the_first_start_and_machines_have_their_names() -> None:
    published: list[tuple[int, Mapping[str, float]]] = []
    with SystemMetrics(lambda step, values: published.append((step, values)), time.time() - 1000, node=3):
        time.sleep(0.2)
    assert 1000 <= published[0][0] <= 1010
    assert all(name.startswith("system/node-3/") for name in published[0][1])


def test_a_server_that_is_away_and_a_wish_to_go_without_are_no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fails(step: int, values: Mapping[str, float]) -> None:
        calls.append(step)
        raise OSError

    with SystemMetrics(fails, time.time()):
        time.sleep(0.3)
    assert len(calls) > 1  # it goes on
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    calls.clear()
    with SystemMetrics(fails, time.time()):
        time.sleep(0.1)
    assert not calls
