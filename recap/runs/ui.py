"""`recap ui`: MLflow's pages for the store of the runs, and the addresses in it that matter."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap.experiment.run_settings import Tracking
from recap.runs.errors import first_line
from recap.runs.forgotten_table import FOLDER as FORGOTTEN
from recap.runs.links import (
    artifact_page,
    base_of,
    charts_page,
    comparison_page,
    is_server,
    run_traces_page,
    runs_page,
    traces_page,
)
from recap.runs.mlflow_store import SQLITE, connect, find_run
from recap.runs.run_directory import run_directory
from recap.runs.spill import FOLDER, WHERE

START_S = 120.0  # that MLflow's server may take to answer
RECENT = 5  # runs that the comparison shows at most


@dataclass(frozen=True)
class Pages:
    """What there is to look at.

    Attributes:
        uri: of the store.
        experiment_id, experiment: of the newest run, or of the one that was asked for.
        runs: ids and names, that run first, then the newest others of its experiment.
        forgotten: that run's newest table of forgotten examples, as an artifact; None where it has none.
    """

    uri: str
    experiment_id: str
    experiment: str
    runs: tuple[tuple[str, str], ...]
    forgotten: str | None

    @property
    def is_server(self) -> bool:
        return is_server(self.uri)

    def lines(self, base: str | None = None) -> list[str]:
        """Addresses, each with what it answers.

        Args:
            base: of the pages; None: the store is a server with its own.
        """
        base = base_of(self.uri) if base is None else base
        (run_id, name), others = self.runs[0], self.runs[1:]
        lines = [
            f"runs of {self.experiment}: {runs_page(base, self.experiment_id)}",
            f"charts of {name}: {charts_page(base, self.experiment_id, run_id)}",
        ]
        lines.append(f"sampled completions, with pictures and rewards: {traces_page(base, self.experiment_id)}")
        if self.forgotten is not None:
            table = artifact_page(base, self.experiment_id, run_id, self.forgotten)
            lines.append(f"what {name} forgot, with pictures: {run_traces_page(base, self.experiment_id, run_id)}")
            lines.append(f"more of what {name} forgot, as a table: {table}")
        if others:
            ids = [run_id, *(other for other, _ in others)]
            lines.append(f"the newest {len(ids)} side by side: {comparison_page(base, self.experiment_id, ids)}")
        return lines


def find_pages(run: Path | None = None, uri: str | None = None) -> Pages:
    """The pages of a run and its neighbours.

    Args:
        run: directory of a run; None: the newest run of the store.
        uri: of the store; None: the run's, or as `Tracking` finds it.

    Raises:
        ValueError: no run there, or a store that cannot be read.
    """
    place: dict[str, Any] = {}
    if run is not None:
        file = run_directory(run) / FOLDER / WHERE
        if not file.is_file():
            raise ValueError(f"{run}: no run there that was logged to MLflow (it has no {FOLDER}/{WHERE})")
        place = json.loads(file.read_text())
    settings = Tracking(uri=uri or place.get("uri"))
    store = settings.resolved_uri
    if store.startswith(SQLITE) and not Path(store.removeprefix(SQLITE)).is_file():
        raise ValueError(
            f"{store}: no runs there yet; `recap train quickstart` makes the first, --uri names another place"
        )
    wanted = place.get("run_id")
    try:
        client = connect(store)
        known = None if wanted is None else find_run(settings, wanted).experiment_id
        experiment_id = known or _newest_experiment(client, store)
        return _pages(client, store, experiment_id, wanted)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{base_of(store)}: MLflow cannot be read ({first_line(error)})") from error


def _newest_experiment(client: Any, store: str) -> str:
    ids = [found.experiment_id for found in client.search_experiments()]
    newest = client.search_runs(ids, order_by=["attributes.start_time DESC"], max_results=1)
    if not newest:
        raise ValueError(f"{base_of(store)}: no runs there yet; `recap train quickstart` makes the first")
    return str(newest[0].info.experiment_id)


def _pages(client: Any, store: str, experiment_id: str, wanted: str | None) -> Pages:
    newest = client.search_runs([experiment_id], order_by=["attributes.start_time DESC"], max_results=RECENT)
    runs = [(run.info.run_id, run.info.run_name) for run in newest]
    if wanted is not None:
        name = client.get_run(wanted).info.run_name
        runs = [(wanted, name), *(run for run in runs if run[0] != wanted)][:RECENT]
    tables = sorted(item.path for item in client.list_artifacts(runs[0][0], FORGOTTEN))
    experiment = client.get_experiment(experiment_id).name
    return Pages(store, experiment_id, experiment, tuple(runs), tables[-1] if tables else None)


@dataclass(frozen=True)
class Served:
    """MLflow's pages, being served."""

    process: subprocess.Popen[bytes]
    base: str

    def wait(self) -> None:
        """Until they end."""
        self.process.wait()


@contextmanager
def serve(uri: str, host: str, port: int) -> Iterator[Served]:
    """Serves the pages of a database until the block ends.

    Raises:
        ValueError: the port is taken, or MLflow's server does not start.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ValueError(f"{host}:{port} cannot be served on ({error}); choose another --port") from error
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", host, "--port", str(port)]
    command += ["--workers", "1"]
    # Its job runners are for what nobody does here (evaluation by a judge): six processes of 100 MB and more each.
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        base = f"http://{host}:{port}"
        _wait(process, f"{base}/health")
        yield Served(process, base)
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise ValueError("MLflow's server does not start; `mlflow ui` says why")
