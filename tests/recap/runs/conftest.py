"""A real MLflow server for tests of what runs log to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`mlflow server` on loopback, with its own database and artifacts."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("a") as log:
            environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
            environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # seven processes that nothing here needs
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, cwd=self.folder, env=environment
            )
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        raise AssertionError((self.folder / "server.log").read_text())

    def kill(self) -> None:
        """With its workers, at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=20)


@pytest.fixture
def unnamed_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that no environment variable names."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server")
    yield server
    if server.process.poll() is None:
        server.kill()


@pytest.fixture
def mlflow_server(unnamed_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server of the environment."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", unnamed_server.url)
    return unnamed_server
