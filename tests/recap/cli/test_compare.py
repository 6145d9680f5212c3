"""`recap compare` on runs made for it, with a known effect, in directories and in MLflow."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from recap.cli import app
from recap.evaluation.outcomes import Outcome, write_outcomes
from recap.runs.measured import measured_runs

SKILLS = {"uniform": 0.4, "recap": 0.8}  # the share of examples that are right after training


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["compare", *arguments], env={"COLUMNS": "250", "TERM": "dumb"})
    return result.exit_code, result.output


@pytest.fixture
def runs(tmp_path: Path, outcome: Callable[..., Outcome]) -> list[Path]:
    """Three seeds of two policies: all examples right before, few or most after."""
    rng = np.random.default_rng(0)
    found = []
    for seed in range(3):
        for policy, skill in SKILLS.items():
            directory = tmp_path / f"{policy}-{seed}"
            about = {
                "run": policy,
                "seed": seed,
                "steps": 60,
                "model": "tiny",
                "settings": {"reweighting": policy.title()},
                "configuration": f"train.reweighting = @reweighting.{policy}\ntrain.seed = {seed}\n",
                "capabilities": {"sums": {"prompt": "{question}"}},
            }
            for step, right in ((0, 1.0), (20, 0.9), (60, skill)):
                rows = [outcome(n, float(rng.random() < right)) for n in range(60)]
                kl = {name: {"mean": 0.01 * step * (seed + 1)} for name in ("kl_model_base", "kl_base_model")}
                said = {**about, "step": step, "drift": {"trained": kl} if policy == "recap" else {}}
                write_outcomes(directory / "outcomes" / f"step-{step:06d}.parquet", {"sums": rows}, said)
            found.append(directory)
    return found


def test_a_known_effect_is_found(runs: list[Path]) -> None:
    code, output = run(*map(str, runs), "--margin", "0.05")
    assert code == 0, output
    assert "uniform: " in output
    assert "    train.reweighting = @reweighting.recap" in output
    _, drift = output.split("drift from the base at step 60")
    (row,) = (line for line in drift.splitlines() if line.startswith((" recap", " uniform")))
    assert "1.2000" in row  # the mean of 0.6, 1.2 and 1.8; the other group has measured none
    changes, differences = output.split("difference from uniform, over matched seeds")
    (row,) = (line for line in differences.splitlines() if line.startswith(" recap") and "higher" in line)
    assert "+0.4" in row
    assert "0.250" in row  # the sign-flip test of three seeds
    assert sum("lower" in line for line in changes.splitlines()) == 2
    assert "forgetting index" in output
    assert "cannot go below p = 0.25" in output


def test_the_baseline_and_the_step_are_chosen(runs: list[Path]) -> None:
    code, output = run(*map(str, runs), "--baseline", "recap", "--step", "20")
    assert code == 0, output
    assert "difference from recap" in output
    assert "score at step 20" in output
    assert "give --margin to test for equivalence" in output


@pytest.mark.parametrize("depth", [1, 2, 3], ids=["runs", "a sweep", "sweeps"])
def test_a_folder_stands_for_the_runs_in_it(runs: list[Path], tmp_path: Path, depth: int) -> None:
    folder = tmp_path.joinpath("named", *"ab"[: depth - 1])
    folder.mkdir(parents=True)
    for directory in runs:
        directory.rename(folder / directory.name)
    code, output = run(str(tmp_path / "named"))
    assert code == 0, output
    assert all(str(folder / directory.name) in output for directory in runs)
    assert "difference from recap, over matched seeds" in output  # of the first by name


def test_a_database_that_is_not_there_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    code, output = run("--uri", f"sqlite:///{tmp_path}/none/mlflow.db", "--filter", "params.steps = '2'")
    assert code == 2
    assert "no database there" in output
    assert not (tmp_path / "none").exists()


def test_a_single_run_is_shown_without_inference(runs: list[Path]) -> None:
    code, output = run(str(runs[0]))
    assert code == 0, output
    assert "one seed" in output
    assert "difference from" not in output


def test_refusals_are_one_readable_error(runs: list[Path], tmp_path: Path) -> None:
    (runs[1] / "outcomes" / "step-000060.parquet").unlink()
    (empty := tmp_path / "empty").mkdir()
    for arguments, expected in (
        ((str(runs[0]), str(runs[1])), "other steps"),
        ((str(runs[0]), "--step", "7"), "not evaluated at step 7; its outcomes are of steps 0, 20, 60"),
        ((str(runs[0]), "--baseline", "static"), "no group 'static' to compare with; there are 'uniform'"),
        ((str(tmp_path / "nowhere"),), "neither a directory that is there nor a run id"),
        ((str(empty),), "no run there, nor in the folders in it"),
        ((), "no runs to compare"),
        (("0" * 32,), "has no run"),
    ):
        code, output = run(*arguments)
        assert code == 2, output
        assert expected in " ".join(output.split())
        assert "Traceback" not in output


def test_runs_of_mlflow_are_found_by_id_and_by_filter(runs: list[Path]) -> None:
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.create_experiment("made up")
    ids = []
    for directory in runs[:4]:
        ids.append(client.create_run(experiment).info.run_id)
        client.log_param(ids[-1], "policy", directory.name.split("-")[0])
        client.log_artifacts(ids[-1], str(directory / "outcomes"), "outcomes")
    for arguments in (ids, ["--experiment", "made up", "--filter", "params.policy LIKE '%'"]):
        code, output = run(*arguments)
        assert code == 0, output
        assert "+0.4" in output or "-0.4" in output
    only = measured_runs([], query="params.policy = 'recap'")
    assert [run.after for run in only] == [run.after for run in measured_runs([str(runs[1]), str(runs[3])])]
    for query, experiment_name, expected in (
        ("params.policy = 'none'", None, "finds no run"),
        ("policy is", None, "--filter 'policy is'"),
        ("", "elsewhere", "has no experiment 'elsewhere'; it has "),
    ):
        with pytest.raises(ValueError, match=expected):
            measured_runs([], query=query, experiment=experiment_name)
