"""`recap ui` finds the pages that matter and serves those of a database; a run's last lines lead there."""

from __future__ import annotations

import os
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from recap.cli import app
from recap.experiment.run_settings import Tracking
from recap.runs.announce import last_lines
from recap.runs.links import charts_page, comparison_page
from recap.runs.tracking import Tracker
from recap.runs.ui import find_pages, serve

ASK = "?workflowType=machine_learning"


def logged(directory: Path, name: str) -> Tracker:
    tracker = Tracker(Tracking(), name, directory)
    tracker.table(4, [{"example": "a"}], "forgotten")
    tracker.table(8, [{"example": "b"}], "forgotten")
    tracker.finish("FINISHED")
    return tracker


def test_the_pages_of_a_run_and_its_neighbours(tmp_path: Path) -> None:
    first, second = logged(tmp_path / "one", "one"), logged(tmp_path / "two", "two")
    pages = find_pages(tmp_path / "one")
    base = "http://here:1"
    table, charts, completions, pictures, forgotten, both = pages.lines(base)
    where = f"{base}/#/experiments/{pages.experiment_id}/runs"
    assert table == f"runs of {Tracking().experiment}: {where}{ASK}"
    assert charts == f"charts of one: {where}/{first.run_id}/model-metrics{ASK}"
    assert completions.endswith(f"/#/experiments/{pages.experiment_id}/traces?startTimeLabel=ALL&{ASK[1:]}")
    assert pictures.endswith(f"{where}/{first.run_id}/traces{ASK}")
    assert forgotten.endswith(f"{where}/{first.run_id}/artifacts/forgotten/step-000008.json{ASK}")
    assert str(first.run_id) in both
    assert str(second.run_id) in both
    assert find_pages().runs[0][1] == "two"  # the newest, where none is named


def test_what_cannot_be_shown_is_said(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["ui"])
    assert result.exit_code == 2
    assert "no runs there yet" in result.output
    result = CliRunner().invoke(app, ["ui", str(tmp_path)])
    assert result.exit_code == 2
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        logged(tmp_path / "run", "run")
        result = CliRunner().invoke(app, ["ui", "--port", str(taken.getsockname()[1])])
    assert result.exit_code == 2
    assert "--port" in result.output


def test_the_last_lines_of_a_run(tmp_path: Path) -> None:
    assert last_lines(tmp_path) == []
    tracker = logged(tmp_path / "run", "run")
    assert last_lines(tmp_path / "run", enabled=False) == []
    assert last_lines(tmp_path / "run")[1] == f"charts, tables, examples: recap ui {tmp_path / 'run'}"
    file = tmp_path / "run" / "tracking" / "where.json"
    uri = MlflowClient().tracking_uri
    file.write_text(file.read_text().replace(uri, "https://mlflow.example.org/"))
    _, charts, runs = last_lines(tmp_path / "run")
    assert charts == f"charts: {charts_page('https://mlflow.example.org', '1', str(tracker.run_id))}"
    assert runs.startswith("all runs: https://mlflow.example.org/#/experiments/1/runs")


def test_ids_of_a_comparison_are_lists_in_the_address() -> None:
    page = comparison_page("http://here", "1", ["a", "b"])
    assert page == f"http://here/#/compare-runs?runs=%5B%22a%22,%22b%22%5D&experiments=%5B%221%22%5D&{ASK[1:]}"


@pytest.mark.slow
def test_the_pages_of_a_database_are_served_and_end(tmp_path: Path) -> None:
    logged(tmp_path / "run", "run")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (
        serve(os.environ["MLFLOW_TRACKING_URI"], "127.0.0.1", port) as served,
        urllib.request.urlopen(f"{served.base}/", timeout=10) as page,
    ):
        assert b"MLflow" in page.read()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{served.base}/health", timeout=2)
