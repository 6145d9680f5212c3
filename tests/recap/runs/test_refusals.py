"""One entry that MLflow chokes on holds up no other, and nothing is given up while MLflow is away."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from recap.experiment.run_settings import Tracking
from recap.runs.sync import sync_run
from recap.runs.tracking import Tracker
from tests.recap.runs.conftest import Server

UNWRITABLE = "\ud800"  # half a character, which no store takes


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"EVERY_S": 0.1, "FIRST_RETRY_S": 0.05, "LAST_RETRY_S": 0.1, "STUCK_AFTER_S": 8.0}.items():
        monkeypatch.setattr(f"recap.runs.delivery.{name}", value)


def points(uri: str, run_id: str | None, metric: str) -> list[tuple[int, float]]:
    found = MlflowClient(tracking_uri=uri).get_metric_history(str(run_id), metric)
    return [(point.step, point.value) for point in found]


def refused(directory: Path) -> list[dict[str, Any]]:
    file = directory / "tracking" / "refused.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_what_mlflow_chokes_on_is_put_aside_and_said_and_tried_again_by_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, log_batch = os.environ["MLFLOW_TRACKING_URI"], MlflowClient.log_batch

    def chokes(self: MlflowClient, run_id: str, metrics: Any = (), *args: Any, **named: Any) -> Any:
        if any(metric.key == "poison" for metric in metrics):
            raise MlflowException("server error 500")  # INTERNAL_ERROR, as of everything that it did not foresee
        return log_batch(self, run_id, metrics, *args, **named)

    monkeypatch.setattr(MlflowClient, "log_batch", chokes)
    tracker = Tracker(Tracking(), "test", tmp_path / "run")
    tracker.tag({"note": UNWRITABLE})
    tracker.log(1, {"before": 1.0, "poison": 2.0, "after": 3.0})
    for step in range(2, 5):
        tracker.log(step, {"before": float(step)})
    until, said = time.monotonic() + 30, list[str]()
    while time.monotonic() < until and not any("MLflow refuses poison of step 1: " in line for line in said):
        said += tracker.news()
        time.sleep(0.05)
    assert sum("MLflow refuses" in line for line in said) in (1, 2)  # the tag and the metric may be said together
    [note] = tracker.finish("FINISHED")
    assert f"MLflow refused 2 entries of this run: see {tmp_path}/run/tracking/refused.jsonl; recap sync" in note
    assert points(uri, tracker.run_id, "before") == [(step, float(step)) for step in range(1, 5)]
    assert points(uri, tracker.run_id, "after") == [(1, 3.0)]
    tag, metric = refused(tmp_path / "run")
    assert tag["tags"] == {"note": UNWRITABLE}
    assert (metric["values"], metric["reason"]) == ({"poison": 2.0}, "server error 500")
    assert "recap.probe" not in MlflowClient(uri).get_run(str(tracker.run_id)).data.tags

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    assert "but for 1 entries that it refuses (tags: " in sync_run(tmp_path / "run")
    assert points(uri, tracker.run_id, "poison") == [(1, 2.0)]
    assert [entry["tags"] for entry in refused(tmp_path / "run")] == [{"note": UNWRITABLE}]


def test_while_mlflow_takes_nothing_nothing_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk of the server, or a proxy in front of nothing: what can be read is no sign that anything can be written."""
    uri, calls = os.environ["MLFLOW_TRACKING_URI"], list[str]()
    tracker = Tracker(Tracking(), "test", tmp_path / "run")
    with monkeypatch.context() as away:
        for name in ("log_batch", "log_text", "set_tag", "delete_tag", "set_terminated"):

            def fails(*args: Any, name: str = name, **named: Any) -> Any:
                calls.append(name)
                raise MlflowException("server error 500")

            away.setattr(MlflowClient, name, fails)
        tracker.log(1, {"loss": 1.0})
        tracker.table(1, [{"completion": "yes"}])
        until = time.monotonic() + 30
        while calls.count("log_batch") < 10 and time.monotonic() < until:
            time.sleep(0.05)
    assert tracker.finish("FINISHED") == []
    assert calls.count("log_batch") >= 10
    assert points(uri, tracker.run_id, "loss") == [(1, 1.0)]
    assert refused(tmp_path / "run") == []


class Proxy(ThreadingHTTPServer):
    """Stands in front of a server; answers 500 to requests with a word in them, or 503 to all."""

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), Forward)
        self.behind, self.chokes_on, self.away = behind, b"poison", False
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Forward(BaseHTTPRequestHandler):
    """One request."""

    server: Proxy

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.away:
            return self._say(503, b"no backend")
        if self.server.chokes_on and self.server.chokes_on in body:
            return self._say(500, b'{"error_code": "INTERNAL_ERROR", "message": "it choked"}')
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        request = urllib.request.Request(self.server.behind + self.path, body or None, headers, method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                self._say(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            self._say(error.code, error.read())
        except OSError:
            self._say(502, b"bad gateway")

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def proxy(mlflow_server: Server) -> Iterator[Proxy]:
    with Proxy(mlflow_server.url) as proxy:
        yield proxy
        proxy.shutdown()


@pytest.mark.slow
def test_a_server_that_chokes_on_one_entry_and_goes_away(
    tmp_path: Path, mlflow_server: Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = Tracker(Tracking(uri=proxy.url), "test", tmp_path / "run")

    def delivered(least: int) -> None:
        until = time.monotonic() + 120
        while len(points(mlflow_server.url, tracker.run_id, "loss")) < least:
            assert time.monotonic() < until, tracker.news()
            time.sleep(0.2)

    tracker.tag({"note": UNWRITABLE})  # at which the real server chokes
    tracker.log(1, {"loss": 1.0, "poison": 5.0})
    tracker.table(1, [{"completion": "poison"}])
    tracker.log(2, {"loss": 2.0})
    delivered(2)
    proxy.away = True
    tracker.log(3, {"loss": 3.0})
    tracker.table(3, [{"completion": "yes"}])
    time.sleep(2)
    proxy.away = False
    delivered(3)
    tracker.log(4, {"loss": 4.0})
    mlflow_server.kill()
    tracker.log(5, {"loss": 5.0})
    time.sleep(2)
    mlflow_server.start()
    [note] = tracker.finish("FINISHED")
    assert "MLflow refused 3 entries" in note
    assert points(mlflow_server.url, tracker.run_id, "loss") == [(step, float(step)) for step in range(1, 6)]
    files = [file.path for file in MlflowClient(mlflow_server.url).list_artifacts(str(tracker.run_id), "rollouts")]
    assert files == ["rollouts/step-000003.json"]
    proxy.chokes_on = b""
    assert "but for 1 entries" in sync_run(tmp_path / "run")
    assert points(mlflow_server.url, tracker.run_id, "poison") == [(1, 5.0)]
    assert [next(iter(entry)) for entry in refused(tmp_path / "run")] == ["tags"]
