"""The `recap` command, as a user types it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from recap.cli import app
from registry import reweighting_policies

ROOT = Path(__file__).resolve().parents[3]
QUICKSTART = str(ROOT / "experiments" / "quickstart.gin")

PLUGIN = '''
"""Favours whatever earned least in the last step."""

from registry import reweighting_policies
from registry.reweighting.base import ReweightingPolicy


@reweighting_policies.register("laggard")
class Laggard(ReweightingPolicy):
    """Weights objectives by how far their last signal was from 1."""

    def __init__(self, objectives, floor=0.1):
        super().__init__(objectives)
        self.floor, self.last = floor, dict.fromkeys(self.objectives, 0.0)

    def update(self, signals):
        self.last.update(signals)

    @property
    def weights(self):
        raw = {name: max(self.floor, 1 - value) for name, value in self.last.items()}
        return {name: value * len(raw) / sum(raw.values()) for name, value in raw.items()}
'''


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def small(bindings: list[str]) -> list[str]:
    return [part for binding in bindings for part in ("-b", binding)]


def test_list_shows_every_family_with_first_lines_and_parameters() -> None:
    code, output = run("list")
    assert code == 0
    for name in ("recap(window=10, temperature=5.0", "hub_dataset(", "iou(", "tiny_qwen2_5_vl("):
        assert name in output


def test_list_of_a_mistyped_family() -> None:
    code, output = run("list", "reweightin")
    assert code == 2
    assert "did you mean reweighting" in output


def test_describe_shows_documentation_parameters_and_place() -> None:
    code, output = run("describe", "reweighting", "recap")
    assert code == 0
    assert "reweighting.recap.window = 10" in output
    assert "recap.py:" in output


def test_describe_of_a_source_shows_examples() -> None:
    code, output = run("describe", "replay", "grounding")
    assert code == 0
    assert "endless, for instance" in output
    assert output.count("grounding/train/") == 3


def test_describe_of_a_mistyped_name() -> None:
    code, output = run("describe", "verifiers", "acuracy")
    assert code == 2
    assert "did you mean: accuracy" in output


def test_check_shows_what_matters_on_one_screen(small_bindings: list[str]) -> None:
    code, output = run("check", QUICKSTART, *small(small_bindings))
    assert code == 0
    assert len(output.splitlines()) < 40
    for shown in ("grounding", "answer_format", "all weights", "2 completions of up to 8 tokens", "AdamW at 0.0002"):
        assert shown in " ".join(output.split())
    assert "recap.temperature" not in output
    assert "valid" in output


def test_check_finds_held_out_examples_that_are_trained_on() -> None:
    code, output = run("check", QUICKSTART, "-b", "held_out/replay.counting.split = 'train'")
    assert code == 0
    assert "note: counting trains on examples that counting is measured on: of its first" in output
    assert output.count("is measured on") == 1


def test_check_shows_the_operative_configuration_behind_full() -> None:
    code, output = run("check", QUICKSTART, "--full", "-b", "train.reweighting = @reweighting.uniform")
    assert code == 0
    assert "train.reweighting = @reweighting.uniform" in output
    assert "note: reweighting.recap.window is bound at" in output


@pytest.mark.parametrize("command", ["check", "train"])
def test_a_binding_that_nothing_asks_for_ends_the_command(command: str) -> None:
    code, output = run(command, QUICKSTART, "-b", "learning_rate = 1e-5")
    assert code == 2
    assert output.startswith("error: learning_rate is bound, but nothing asks for it")
    code, output = run("check", QUICKSTART, "-b", "learning_rate = 1e-5", "--allow-unused")
    assert code == 0
    assert "note: learning_rate is bound by -b 'learning_rate = 1e-5', but nothing asks for it" in output


@pytest.mark.parametrize(
    "binding",
    [
        "counting/Domain.source = 'x.jsonl'",
        "train.mixture = @mixtures.uniform",
        "train.reweighting = @reweighting.recap()",
    ],
)
def test_check_ends_in_one_error_where_it_ended_in_a_traceback(binding: str) -> None:
    code, output = run("check", QUICKSTART, "-b", binding)
    assert code == 2
    assert output.startswith(f"error: {binding.split(' ')[0]} must be ")


def test_a_run_that_was_started_with_an_unused_binding_can_be_resumed_but_new_ones_are_asked_for(
    tmp_path: Path, small_bindings: list[str]
) -> None:
    directory = str(tmp_path / "run")
    bindings = small([*small_bindings, "train.steps = 2", "checkpoints.save_model = False", "of_old = 1"])
    code, output = run("train", QUICKSTART, "--output", directory, "--allow-unused", *bindings)
    assert code == 0, output
    assert "note: of_old is bound by -b 'of_old = 1', but nothing asks for it" in output
    code, output = run("train", "--resume", directory, "-b", "of_today = 1")
    assert code == 2
    assert "of_today is bound" in output
    assert "of_old" not in output
    code, output = run("train", "--resume", directory)
    assert code == 0, output


def test_a_plugin_that_cannot_be_run_is_one_error(tmp_path: Path) -> None:
    plugin = tmp_path / "broken_for_list.py"
    plugin.write_text("1 / 0\n")
    for command in (["list"], ["check", QUICKSTART]):
        code, output = run(*command, "--plugin", str(plugin))
        assert code == 2
        assert output.startswith(f"error: plugin {plugin} cannot be loaded: ZeroDivisionError: division by zero")


def test_check_fails_on_a_bad_file_with_one_error(tmp_path: Path) -> None:
    file = tmp_path / "bad.gin"
    file.write_text(f"include '{QUICKSTART}'\ntrain.reweighting = @reweighting.unifrom\n")
    code, output = run("check", str(file))
    assert code == 2
    assert output.startswith("error:")
    assert "did you mean: uniform" in output
    assert "Traceback" not in output


def test_a_policy_of_your_own_trains_without_touching_the_package(
    tmp_path: Path, small_bindings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "laggard.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    bindings = [*small_bindings, "train.reweighting = @reweighting.laggard", "reweighting.laggard.floor = 0.2"]
    with reweighting_policies.temporarily():
        code, output = run(
            "train", QUICKSTART, "--plugin", "laggard.py", "--output", str(tmp_path / "run"), *small(bindings)
        )
    assert code == 0, output
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    (logged,) = client.search_runs([client.get_experiment_by_name("recap quickstart").experiment_id])
    assert logged.data.params["reweighting"] == "Laggard"
    assert logged.info.run_name == "quickstart-laggard"
    assert len({value for name, value in logged.data.metrics.items() if name.startswith("weight/")}) > 1


def test_a_missing_plugin_file() -> None:
    code, output = run("list", "--plugin", "nowhere.py")
    assert code == 2
    assert "nowhere.py" in output


def test_a_launcher_that_started_one_process_of_several_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `accelerate launch --cpu --num_processes 2` leaves in the environment of its single process."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_PORT", "29500")
    code, output = run("train", QUICKSTART)
    assert code == 2
    assert "torchrun --nproc_per_node 2" in output


@pytest.mark.parametrize(
    "command", [["compare", "a"], ["report", "a"], ["eval", "a", "--tasks", "t"], ["sweep", "f.gin"]]
)
def test_what_is_one_process_says_so_to_a_launcher(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    what = (
        "a sweep starts processes of its own, --jobs at a time"
        if command[0] == "sweep"
        else f"recap {command[0]} is one process"
    )
    assert f"{what}: run it without a launcher" in " ".join(result.output.split())
