"""A run that ends waits for who is at work, however slow the machine is, and not for who is away."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from mlflow import MlflowClient

from recap.experiment.run_settings import Tracking
from recap.runs.delivery import Delivery
from recap.runs.mlflow_run import MLflowRun, together
from recap.runs.mlflow_store import check_sqlite, is_served
from recap.runs.spill import Entry, Spill
from recap.runs.tracking import Tracker
from tests.recap.runs.conftest import free_port


def points(run_id: str | None, metric: str) -> list[tuple[int, float]]:
    found = MlflowClient().get_metric_history(str(run_id), metric)
    return [(point.step, point.value) for point in found]


def slowly(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Every request of metrics takes so long, as on a disk that others use too."""
    log_batch = MlflowClient.log_batch

    def slow(*args: Any, **named: Any) -> Any:
        time.sleep(seconds)
        return log_batch(*args, **named)

    monkeypatch.setattr(MlflowClient, "log_batch", slow)


def test_a_request_that_a_slow_disk_holds_up_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recap.runs.delivery.STUCK_AFTER_S", 0.1)
    slowly(monkeypatch, 1.0)
    tracker = Tracker(Tracking(), "test", tmp_path / "run")
    tracker.log(1, {"loss": 1.0})
    assert tracker.finish("FINISHED") == []
    assert points(tracker.run_id, "loss") == [(1, 1.0)]


def test_many_requests_on_a_slow_disk_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed run that was resumed on a busy machine had most of its entries left after a minute of one after the other."""
    monkeypatch.setattr("recap.runs.delivery.CLOSE_WAIT_S", 0.2)
    slowly(monkeypatch, 0.2)
    tracker = Tracker(Tracking(), "test", tmp_path / "run")
    for step in range(1, 6):
        tracker.log(step, {"loss": 1.0 / step})
        tracker.tag({"step": str(step)})
    assert tracker.finish("FINISHED") == []
    assert points(tracker.run_id, "loss") == [(step, 1.0 / step) for step in range(1, 6)]


class Slow:
    """Stands for a run in MLflow: it is done with a request when it was asked three times whether it is there."""

    def __init__(self, there: bool) -> None:
        self.there, self.is_own = there, False
        self.asked, self.arrived = 0, list[Entry]()
        self.begun, self.answer = threading.Event(), threading.Event()

    def send(self, entries: Sequence[Entry], look: bool) -> int:
        self.begun.set()
        self.answer.wait(60)
        self.arrived.extend(entries[:1])
        return 1

    def takes_others(self) -> bool:
        return False

    def is_served(self) -> bool:
        self.asked += 1
        if self.asked == 3:
            self.answer.set()
        return self.there


@contextmanager
def delivering(tmp_path: Path, run: Slow) -> Iterator[Delivery]:
    spill = Spill(tmp_path)
    spill.put({"tags": {"one": "1"}})
    delivery = Delivery(spill, cast(MLflowRun, run))
    assert run.begun.wait(60)
    yield delivery
    run.answer.set()
    spill.close()


def test_a_server_that_is_there_is_waited_for(tmp_path: Path) -> None:
    run = Slow(there=True)
    with delivering(tmp_path, run) as delivery:
        assert delivery.close(wait_s=60, stuck_s=0.1) == 0
    assert [entry["tags"] for entry in run.arrived] == [{"one": "1"}]


def test_a_server_that_is_away_is_not(tmp_path: Path) -> None:
    run = Slow(there=False)
    with delivering(tmp_path, run) as delivery:
        assert delivery.close(wait_s=60, stuck_s=0.1) == 1
        assert (run.asked, run.arrived) == (1, [])


class Says(BaseHTTPRequestHandler):
    """One request: answered with the server's status, or never."""

    def do_GET(self) -> None:
        status: int | None = self.server.status  # type: ignore[attr-defined]
        if status is None:
            self.server.over.wait(60)  # type: ignore[attr-defined]
            return
        self.send_response(status)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.mark.parametrize(("status", "there"), [(200, True), (404, True), (503, False), (None, False)])
def test_a_server_is_there_that_answers(monkeypatch: pytest.MonkeyPatch, status: int | None, there: bool) -> None:
    monkeypatch.setattr("recap.runs.mlflow_store.SERVED_WAIT_S", 5.0 if status else 0.3)
    with ThreadingHTTPServer(("127.0.0.1", 0), Says) as server:
        server.status, server.over = status, threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert is_served(f"http://127.0.0.1:{server.server_address[1]}") == there
        server.over.set()  # type: ignore[attr-defined]
        server.shutdown()


def test_who_is_there_without_being_asked() -> None:
    assert is_served("sqlite:///runs/mlflow.db")
    assert is_served("./mlruns")
    assert not is_served(f"http://127.0.0.1:{free_port()}")
    assert not is_served("postgresql://user@host/mlflow")


def group(completions: int) -> Entry:
    return {"group": {"completions": [{}] * completions}}


@pytest.mark.parametrize(
    ("entries", "count"),
    [
        ([group(8), group(8), group(8), {"tags": {}}], 3),
        ([group(16), group(16), group(1)], 2),
        ([group(64), group(1)], 1),
        ([{"tags": {}}, {"tags": {}}], 1),
        ([{"values": {"a": 1.0}}, {"values": {"a": 2.0}}, group(1)], 2),
    ],
)
def test_what_goes_together(entries: list[Entry], count: int) -> None:
    assert together(entries) == count


WRITES = """
import sqlite3, sys
try:
    sqlite3.connect(sys.argv[1], timeout=0).execute("BEGIN IMMEDIATE")
    print("free")
except sqlite3.OperationalError as error:
    print(error)
"""


def test_a_look_at_a_database_leaves_this_process_its_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a run begins while the delivery of the one before it in the same process is still at work."""
    monkeypatch.setattr("recap.runs.mlflow_store.SQLITE_WAIT_S", 0.1)
    database = tmp_path / "mlflow.db"
    delivers = sqlite3.connect(database)
    delivers.execute("BEGIN IMMEDIATE")
    with pytest.raises(ValueError, match="is locked"):
        check_sqlite(f"sqlite:///{database}")
    other = subprocess.run([sys.executable, "-c", WRITES, str(database)], capture_output=True, text=True, check=True)
    delivers.close()
    assert other.stdout == "database is locked\n"
