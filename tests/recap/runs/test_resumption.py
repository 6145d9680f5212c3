"""Going on with a run: what a resume changes is changed, an older checkpoint is a fork, a finished run says so."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from recap.cli import app
from recap.experiment.config import LoadedConfig
from recap.optimization.adamw import AdamW
from recap.runs.checkpoint import list_checkpoints, read_state
from recap.runs.launch import shared_run_directory
from recap.runs.mlflow_store import connect
from recap.runs.resumption import find_resumption
from recap.runs.run import Run
from recap.runs.run_directory import RunRecord, read_record, started_with

Small = Callable[..., LoadedConfig]
QUICKSTART = str(Path(__file__).resolve().parents[3] / "experiments" / "quickstart.gin")
QUICK = ("checkpoints.save_model = False", "reweighting.recap.window = 1")


def start(config: LoadedConfig, directory: Path, resume: Path | None = None, **options: Any) -> Run:
    given = {"operative_config": config.operative, "command": config.command, "resume": resume, **options}
    return Run(config.experiment, directory, name="test", **given)


def resumed_with(small: Small, run: Path, *bindings: str) -> Run:
    """As `recap train --resume RUN -b BINDING ...`."""
    _, bound, _ = started_with(run, None, bindings, [])
    return start(small(*bound), run, resume=run)


def client() -> MlflowClient:
    return MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])


def history(run: Run, metric: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client().get_metric_history(str(run.tracker.run_id), metric)]


def artifact(run: Run, name: str, folder: Path) -> str:
    return Path(client().download_artifacts(str(run.tracker.run_id), name, str(folder))).read_text()


def recap(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def small_command(bindings: list[str], *more: str) -> list[str]:
    return [part for binding in (*bindings, *QUICK, *more) for part in ("-b", binding)]


# --- directories


def test_runs_of_one_second_have_directories_of_their_own(tmp_path: Path) -> None:
    wanted = tmp_path / "runs" / "quickstart-recap-20260101-120000"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: shared_run_directory(wanted), range(16)))
    assert len(set(made)) == 16
    assert {path.name for path in made} == {wanted.name, *(f"{wanted.name}-{n}" for n in range(2, 17))}
    assert all(path.is_dir() for path in made)


def test_of_two_runs_in_one_directory_the_second_is_refused(tmp_path: Path) -> None:
    RunRecord("first", None).write(tmp_path, "train.steps = 1\n")
    with pytest.raises(ValueError, match="another run has taken this directory"):
        RunRecord("second", None).write(tmp_path, "train.steps = 2\n")
    assert read_record(tmp_path).mlflow_run_id == "first"
    with pytest.raises(ValueError, match="a run is there already"):
        shared_run_directory(tmp_path / "other", output=tmp_path)


def test_a_record_of_an_older_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(
        '{"mlflow_run_id": "x", "command": {"file": "a", "bindings": ["b"], "plugins": []}}'
    )
    record = read_record(tmp_path)
    assert record.command is not None
    assert (record.working_directory, record.finished, record.command.bindings) == ("", False, ("b",))


def test_a_run_is_resumed_from_another_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_bindings: list[str]
) -> None:
    """Its data and its MLflow are named by paths relative to where it was started."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    rows = [json.dumps({"question": f"{i}+1=?", "answer": str(i + 1)}) for i in range(40)]
    (here / "rows.jsonl").write_text("\n".join(rows))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (elsewhere := tmp_path / "elsewhere" / "runs").mkdir(parents=True)  # where this process logged before
    monkeypatch.chdir(elsewhere.parent)
    connect("sqlite:///runs/mlflow.db").search_experiments()
    bindings = small_command(
        small_bindings,
        "replay.jsonl.path = 'rows.jsonl'",
        "train.mixture = @mixtures.uniform()",
        "train.domains = [@mine/Domain()]",
        "mine/Domain.source = @replay.jsonl()",
        "mine/Domain.objectives = {'next_token': @next_token_prediction()}",
        "train.steps = 1",
    )
    monkeypatch.chdir(here)
    code, output = recap("train", QUICKSTART, "--allow-unused", "--output", "run", *bindings)
    assert code == 0, output
    monkeypatch.chdir(there)
    code, output = recap("train", "--resume", "../here/run", "-b", "train.steps = 2")
    assert code == 0, output
    assert f"relative paths are taken from {here}" in output.replace("\n", "")
    assert [path.name for path in list_checkpoints(here / "run")] == ["checkpoint-000001", "checkpoint-000002"]
    assert not list(there.iterdir())
    [run] = MlflowClient(f"sqlite:///{here}/runs/mlflow.db").search_runs(["1"])
    assert run.data.metrics["learning_rate"] > 0
    assert run.info.status == "FINISHED"


# --- changes


def test_what_a_resume_changes_is_changed(small: Small, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    first = start(small("train.steps = 2", "checkpoints.every = 1", *QUICK), directory)
    first.execute()
    bindings = (
        "train.steps = 5",
        "adamw.learning_rate = 1e-12",
        "adamw.betas = (0.5, 0.6)",
        "adamw.weight_decay = 0.3",
        "adamw.schedule = 'constant'",
    )
    run = resumed_with(small, directory, *bindings)
    assert "changed: +adamw.learning_rate = 1e-12" in run.notices
    run.execute()
    assert run.tracker.run_id == first.tracker.run_id
    assert [value for step, value in history(run, "learning_rate") if step > 2] == pytest.approx([1e-12] * 3)
    [group] = run.trainer.models.optimizer.param_groups
    assert (group["betas"], group["weight_decay"]) == ((0.5, 0.6), 0.3)
    # who resumes next, or reads the record, knows
    _, bound, _ = started_with(directory, None, [], [])
    assert bound[-len(bindings) :] == list(bindings)
    assert "adamw.learning_rate = 1e-12" in (directory / "operative_config.gin").read_text()
    assert "adamw.learning_rate = 1e-12" in artifact(run, "operative_config.gin", tmp_path)
    assert "adamw.learning_rate = 0.0002" in artifact(run, "operative_config_until_step_000002.gin", tmp_path)
    tag = client().get_run(str(run.tracker.run_id)).data.tags["recap.changed_at_step_000002"]
    assert "+adamw.learning_rate = 1e-12" in tag.splitlines()
    assert "-train.steps = 2" in tag.splitlines()


def test_a_linear_schedule_that_is_given_more_steps_is_the_new_one_from_the_first_step(
    small: Small, tmp_path: Path
) -> None:
    start(small("train.steps = 2", "checkpoints.every = 1", *QUICK), tmp_path / "run").execute()
    run = resumed_with(small, tmp_path / "run", "train.steps = 4")
    run.execute()
    settings = run.experiment.optimizer
    assert isinstance(settings, AdamW)
    wanted = [settings.learning_rate * settings.factor(step, 4) for step in (2, 3)]
    assert [value for step, value in history(run, "learning_rate") if step > 2] == pytest.approx(wanted)


def test_steps_that_a_killed_process_logged_are_logged_again_where_something_is_changed(
    small: Small, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    start(small("train.steps = 2", "checkpoints.every = 1", *QUICK), directory).execute()
    shutil.rmtree(directory / "checkpoint-000002")  # as if it had been killed before it was written
    run = resumed_with(small, directory, "adamw.learning_rate = 1e-12")
    run.execute()
    assert [step for step, _ in history(run, "learning_rate")] == [1, 2, 2]
    assert client().get_run(str(run.tracker.run_id)).data.metrics["learning_rate"] < 1e-11


def test_another_policy_starts_afresh_and_another_gradient_method_too(small: Small, tmp_path: Path) -> None:
    bindings = ("train.steps = 1", "train.reweighting = @reweighting.famo", "train.gradient_method = 'gradvac'")
    start(small(*bindings, *QUICK), tmp_path / "run").execute()
    changes = ("train.reweighting = @reweighting.dwa", "train.gradient_method = 'nash_mtl'", "train.steps = 2")
    run = resumed_with(small, tmp_path / "run", *changes)
    assert "the reweighting policy DynamicWeightAverage starts afresh, in the place of FAMO" in run.notices
    assert run.execute() is not None


def test_a_domain_that_is_new_or_gone_is_an_error_with_its_name(small: Small, tmp_path: Path) -> None:
    two = "train.domains = [@arithmetic/Domain(), @counting/Domain()]"
    start(small("train.steps = 1", "train.mixture = @mixtures.uniform()", two, *QUICK), tmp_path / "run").execute()
    three = "train.domains = [@arithmetic/Domain(), @counting/Domain(), @reading/Domain()]"
    with pytest.raises(ValueError, match=r"reading: a domain that is new: .* written with arithmetic, counting"):
        resumed_with(small, tmp_path / "run", three)
    with pytest.raises(ValueError, match="counting: a domain that is gone"):
        resumed_with(small, tmp_path / "run", "train.domains = [@arithmetic/Domain()]")
    renamed = "counting/Domain.objectives = {'counted': @verifiers.accuracy()}"
    with pytest.raises(ValueError, match="counted: an objective that is new"):
        resumed_with(small, tmp_path / "run", renamed)


# --- forks


def test_an_older_checkpoint_is_a_fork(small: Small, tmp_path: Path) -> None:
    bindings = ("train.steps = 3", "checkpoints.every = 1", "checkpoints.keep = 3", *QUICK)
    parent = start(small(*bindings), tmp_path / "parent")
    parent.execute()
    losses = history(parent, "loss")
    older = tmp_path / "parent" / "checkpoint-000001"
    assert find_resumption(older).fork
    assert not find_resumption(tmp_path / "parent" / "checkpoint-000003").fork
    fork = start(small(*bindings, "adamw.learning_rate = 1e-12"), tmp_path / "fork", resume=older)
    assert [path.name for path in list_checkpoints(tmp_path / "fork")] == ["checkpoint-000001"], "it needs no parent"
    fork.execute()
    assert fork.tracker.run_id != parent.tracker.run_id
    tags = client().get_run(str(fork.tracker.run_id)).data.tags
    assert tags["mlflow.parentRunId"] == tags["recap.forked_from"] == parent.tracker.run_id
    assert tags["recap.forked_at_step"] == "1"
    assert [step for step, _ in history(fork, "loss")] == [2, 3]
    assert history(fork, "loss")[0] == losses[1], "the weights that the parent had"
    assert history(fork, "loss")[1] != losses[2], "and then its own rate"
    assert history(parent, "loss") == losses
    record = read_record(tmp_path / "fork")
    assert record.forked_from == {
        "run": str((tmp_path / "parent").resolve()),
        "mlflow_run_id": parent.tracker.run_id,
        "step": 1,
    }
    assert len(list_checkpoints(tmp_path / "parent")) == 3


def test_a_checkpoint_into_another_directory_is_a_fork(tmp_path: Path, small_bindings: list[str]) -> None:
    bindings = small_command(small_bindings, "train.steps = 1")
    code, output = recap("train", QUICKSTART, "--allow-unused", "--output", str(tmp_path / "run"), *bindings)
    assert code == 0, output
    fork = ("train", "--resume", str(tmp_path / "run"), "--output", str(tmp_path / "fork"), "-b", "train.steps = 2")
    code, output = recap(*fork)
    assert code == 0, output
    assert read_state(tmp_path / "fork" / "checkpoint-000002")["step"] == 2
    assert not (tmp_path / "run" / "checkpoint-000002").exists()
    assert read_record(tmp_path / "fork").command.bindings[-1] == "train.steps = 2"  # type: ignore[union-attr]
    code, output = recap(*fork)
    assert code == 2
    assert "a run is there already" in output


# --- the end


def test_a_finished_run_says_so_and_can_be_given_more_steps(tmp_path: Path, small_bindings: list[str]) -> None:
    run = str(tmp_path / "run")
    bindings = small_command(small_bindings, "train.steps = 1", "checkpoints.every = None")
    code, output = recap("train", QUICKSTART, "--allow-unused", "--output", run, *bindings)
    assert code == 0, output
    assert (tmp_path / "run" / "checkpoint-000001").is_dir()
    code, output = recap("train", "--resume", run)
    assert code == 0, output
    assert "is finished: it stands at step 1 of 1" in output.replace("\n", "")
    assert "step 1/1" not in output
    code, output = recap("train", "--resume", run, "-b", "train.steps = 2")
    assert code == 0, output
    assert (tmp_path / "run" / "checkpoint-000002").is_dir()
    code, output = recap("train", "--resume", run)
    assert "it stands at step 2 of 2" in output.replace("\n", "")
