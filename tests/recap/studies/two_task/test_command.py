"""`recap study two-task`, as a user types it, with few steps."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from recap.cli import app
from recap.studies.two_task.methods import Method
from recap.studies.two_task.problem import STARTS

PLUGIN = '''
"""A policy of one's own."""

from registry import reweighting_policies
from registry.reweighting.uniform import Uniform


@reweighting_policies.register("newcomer")
class Newcomer(Uniform):
    """Weights as uniform does."""
'''
FEW = ["--steps", "30", "--seeds", "2", "--workers", "1"]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["study", "two-task", *arguments], env={"COLUMNS": "120"})
    return result.exit_code, result.output


@pytest.fixture
def few_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow solvers and most ablations are left to the full run."""

    def chosen() -> tuple[list[Method], list[str]]:
        from recap.studies.two_task.methods import all_methods

        methods, notes = all_methods()
        kept = ("recap", "uniform", "newcomer", "α = 0.5", "T = 10", "v1 convergence", "mgda")
        return [method for method in methods if method.name in kept], notes

    monkeypatch.setattr("recap.studies.two_task.command.all_methods", chosen)


@pytest.mark.usefixtures("few_methods")
def test_a_short_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/study.db")
    plugin = tmp_path / "newcomer.py"
    plugin.write_text(PLUGIN)
    output = tmp_path / "two-task"
    from registry import reweighting_policies

    with reweighting_policies.temporarily():
        code, text = run(*FEW, "--output", str(output), "--plugin", str(plugin))
    assert code == 0, text
    for word in ("recap", "newcomer", "T = 10", "kl_only is left out"):
        assert word in text

    with (output / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = {row["method"] for row in rows}
    assert {"recap", "uniform", "newcomer", "α = 0.5", "T = 10", "v1 convergence"} <= names
    assert len(rows) == len(names) * len(STARTS)
    by_place = {(row["method"], row["start"]): row["final_distance"] for row in rows}
    for start in ("(-8.5, 7.5)", "(9, -1)"):
        assert by_place["newcomer", start] == by_place["uniform", start]
    assert "| newcomer | 0/10 |" in (output / "results.md").read_text(encoding="utf-8")
    for figure in ("methods.png", "alpha.png", "temperature.png", "readings.png"):
        assert (output / figure).read_bytes().startswith(b"\x89PNG")

    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("recap two-task study")
    logged = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parent = logged.pop("two-task-printed")
    assert set(logged) == names
    assert parent.info.status == "FINISHED"
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {"results.csv", "methods.png"}
    recap = logged["recap"]
    assert recap.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert recap.data.metrics["final_distance/9_9"] == pytest.approx(float(by_place["recap", "(9, 9)"]), rel=1e-5)
    assert logged["T = 10"].data.params["temperature"] == "10.0"


def test_bad_settings_are_one_line() -> None:
    code, text = run("--steps", "0")
    assert code == 2
    assert text.startswith("error: steps must be at least 1, got 0")


def test_help_has_an_example() -> None:
    code, text = run("--help")
    assert code == 0
    assert "Example:  recap study two-task" in text
