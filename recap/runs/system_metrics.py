"""Use of processor, memory, disk, network and GPUs, as MLflow measures it, one thread a machine."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from accelerate import Accelerator

from recap.runs.mlflow_store import connect
from recap.runs.tracking import Tracker

EVERY_S = 10.0  # as MLflow's own; MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL changes it

Publish = Callable[[int, Mapping[str, float]], None]


class SystemMetrics:
    """Measures until it is stopped; whatever fails is left out, and nothing is raised.

    MLflow's monitors do the measuring. Its `SystemMetricsMonitor` is not used, as it ends for good at the first request that a
    server does not answer.

    Args:
        publish: takes a step, here the whole seconds since `since`, and the values.
        since: seconds of the clock; of the first start of a run, so that a resumed one goes on from there.
        node: of several machines, which; None: there is one.
    """

    def __init__(self, publish: Publish, since: float, node: int | None = None) -> None:
        self._publish, self._since = publish, since
        self._prefix = "system/" if node is None else f"system/node-{node}/"
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> SystemMetrics:
        """Begins, unless MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING is false."""
        if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() in ("false", "0"):
            return self
        self._thread = threading.Thread(target=self._work, daemon=True, name="recap-system-metrics")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Publishes what was measured last, and ends."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(EVERY_S)
            self._thread = None

    def _work(self) -> None:
        monitors = _monitors()
        every = float(os.environ.get("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL") or EVERY_S)
        while monitors and not self._stop.is_set():
            self._stop.wait(every)
            values: dict[str, float] = {}
            for monitor in monitors:
                with suppress(Exception):
                    monitor.collect_metrics()
                    values |= {self._prefix + name: float(value) for name, value in monitor.aggregate_metrics().items()}
                    monitor.clear_metrics()
            with suppress(Exception):
                self._publish(int(time.time() - self._since), values)


def of_this_machine(tracker: Tracker, run_id: str | None, accelerator: Accelerator) -> SystemMetrics | None:
    """One a machine: the first machine's goes the way of all metrics, the others' to MLflow directly, as far as it is there."""
    per_machine = int(os.environ.get("LOCAL_WORLD_SIZE") or accelerator.num_processes)
    several = accelerator.num_processes > per_machine
    if not accelerator.is_local_main_process or run_id is None:
        return None
    node = accelerator.process_index // per_machine if several else None
    publish = tracker.log if accelerator.is_main_process else _directly(tracker.settings.resolved_uri, run_id)
    return SystemMetrics(publish, tracker.since, node)


def _directly(uri: str, run_id: str) -> Publish:
    def publish(step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        connect(uri).log_batch(run_id, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    return publish


def _monitors() -> list[Any]:
    """Those that work on this machine; psutil may be missing, or a GPU of a kind that MLflow does not know."""
    found: list[Any] = []
    with suppress(Exception):
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        found += [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with suppress(Exception):
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

        found.append(GPUMonitor())
    return found
