"""A run's page in MLflow says what was trained on what, by whom and with what; its data sets and its files are there."""

from __future__ import annotations

import doctest
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from recap.experiment.config import LoadedConfig
from recap.runs import run_page as module
from recap.runs.provenance import command_line, without_passwords
from recap.runs.run import Run
from recap.runs.run_inputs import run_inputs
from recap.runs.run_page import bindings, run_page

Small = Callable[..., LoadedConfig]


def client() -> MlflowClient:
    return MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])


def test_the_page_of_a_run(small: Small, tmp_path: Path) -> None:
    config = small("train.steps = 1", "train.capabilities = [@arithmetic/Capability()]", "Capability.examples = 4")
    run = Run(
        config.experiment, tmp_path / "run", name="test", operative_config=config.operative, command=config.command
    )
    run.execute()
    logged = client().get_run(str(run.tracker.run_id))
    tags, params = logged.data.tags, logged.data.params
    first, second, third = tags["mlflow.note.content"].split("  \n")
    assert "weighted by **Recap**: 1 steps of 8 prompts x 2 completions" in first
    assert "counting (accuracy, thinking_format)" in second
    assert third == "Measured: arithmetic, before and after"
    assert tags["mlflow.source.name"].endswith("quickstart.gin")
    assert tags["run_directory"] == str(tmp_path / "run")
    assert tags["command"].startswith("recap train ")
    assert (tags["policy"], tags["seed"]) == ("Recap", "0")
    assert tags["version.torch"]
    # every value of the configuration is a parameter, and so are those that nobody bound
    assert params["train.prompts_per_step"] == "8"
    assert params["recap.window"] == "10" or params["reweighting.recap.window"] == "10"
    assert params["train.reweighting"] == "@reweighting.recap"
    assert len(params) > 50
    inputs = {
        (one.dataset.name, tag.value)
        for one in logged.inputs.dataset_inputs
        for tag in one.tags
        if "context" in tag.key
    }
    assert {("counting", "training"), ("arithmetic", "training"), ("arithmetic", "evaluation")} <= inputs
    files = [file.path for file in client().list_artifacts(str(run.tracker.run_id), "experiment")]
    assert files == ["experiment/quickstart.gin"]


def test_tags_of_the_users_own_win(small: Small, tmp_path: Path) -> None:
    config = small("train.steps = 1", "tracking.tags = {'policy': 'mine', 'mlflow.note.content': 'why'}")
    run = Run(config.experiment, tmp_path / "run", operative_config=config.operative)
    run.execute()
    tags = client().get_run(str(run.tracker.run_id)).data.tags
    assert (tags["policy"], tags["mlflow.note.content"]) == ("mine", "why")


def test_an_experiment_made_in_python_has_its_settings(small: Small, tmp_path: Path) -> None:
    page = run_page(small().experiment, "a model", "", None, tmp_path)
    assert page.parameters["steps"] == "3"
    assert page.parameters["model"] == "a model"
    assert "command" not in page.tags


def test_passwords_are_struck_out(small: Small, tmp_path: Path) -> None:
    config = small("tracking.uri = 'https://ann:secret@example.org/mlflow'")
    page = run_page(config.experiment, "a model", config.operative, config.command, tmp_path)
    assert "secret" not in json.dumps([dict(page.parameters), dict(page.tags)])
    assert config.command is not None
    assert "https://ann:***@example.org" in command_line(config.command)
    assert without_passwords("http://host:5000/a@b") == "http://host:5000/a@b"


def test_other_rows_in_a_file_are_other_data(small: Small, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"

    def digests() -> list[str]:
        bound = ("arithmetic/Domain.source = @mine/replay.jsonl()", f"mine/replay.jsonl.path = '{file}'")
        return [one["digest"] for one in run_inputs(small(*bound).experiment) if one["name"] == "arithmetic"]

    file.write_text('{"question": "1+1", "answer": "2"}\n')
    first = digests()
    assert digests() == first
    file.write_text('{"question": "1+1", "answer": "3"}\n')
    assert digests()[0] != first[0]


@pytest.mark.parametrize("name", ["bindings"])
def test_examples_in_docstrings(name: str) -> None:
    assert bindings("") == {}
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


def test_a_run_that_somebody_else_has_made_is_logged_to(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = client().create_run("0", run_name="of a scheduler")
    monkeypatch.setenv("MLFLOW_RUN_ID", mine.info.run_id)
    run = Run(small("train.steps = 1").experiment, tmp_path / "run", name="test")
    run.execute()
    assert run.tracker.run_id == mine.info.run_id
    logged = client().get_run(mine.info.run_id)
    assert (logged.info.status, logged.info.run_name) == ("FINISHED", "of a scheduler")
    assert "learning_rate" in logged.data.metrics
    assert [found.name for found in client().search_experiments()] == ["Default"]


def test_a_run_that_is_not_there_is_one_readable_error(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(ValueError, match=f"has no run {'0' * 32}"):
        Run(small().experiment, tmp_path / "run")
