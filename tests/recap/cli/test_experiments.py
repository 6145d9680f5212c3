"""Experiments by name, far from the checkout; `recap experiments` and `recap init`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from recap.cli import app
from recap.experiment.config import ConfigError, load_config

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _far_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


@pytest.mark.parametrize("name", ["quickstart", "experiments/quickstart.gin", "baselines/lwf", "paper/hybrid_recap"])
def test_a_shipped_experiment_is_found_by_name(name: str) -> None:
    code, output = run("check", name, "--accelerate", "experiments/accelerate/fsdp2_8_gpus.yaml")
    assert code == 0, output
    assert f"{name}: valid" in output


def test_a_file_of_the_working_directory_comes_first(tmp_path: Path) -> None:
    (tmp_path / "quickstart").write_text("train.steps = 'nonsense'\n")
    with pytest.raises(ConfigError, match="quickstart:1"):
        load_config("quickstart")


@pytest.mark.parametrize("shipped", ["experiments/quickstart.gin", str(ROOT / "experiments" / "quickstart.gin")])
def test_a_file_of_ones_own_includes_a_shipped_one_with_what_that_includes(tmp_path: Path, shipped: str) -> None:
    (tmp_path / "own.gin").write_text(f"include '{shipped}'\ntrain.steps = 7\n")
    assert load_config("own.gin").experiment.steps == 7


def test_data_that_a_shipped_experiment_names_is_found() -> None:
    from registry.replay.files import Jsonl

    assert Jsonl("experiments/data/replay_text.jsonl").files() == [ROOT / "experiments/data/replay_text.jsonl"]


def test_a_mistyped_name_is_answered_with_the_nearest() -> None:
    code, output = run("check", "paper/hybrid_recpa")
    assert code == 2
    assert "did you mean paper/hybrid_recap" in output
    assert "recap experiments" in output


def test_the_list_says_what_each_is_and_leaves_out_what_is_only_included() -> None:
    code, output = run("experiments")
    assert code == 0
    lines = output.splitlines()
    assert "The quick start: RECAP on the tiny Qwen2.5-VL" in lines[lines.index("quickstart") + 1]
    names = [line for line in lines if not line.startswith(" ")]
    assert {"baselines/lwf", "paper/hybrid_recap", "paper/released/hybrid_recap"} <= set(names)
    assert not [name for name in names if name.startswith(("models/", "reweighting/", "domains/")) or "/_" in name]
    assert "(no description)" not in output
    assert run("experiments", "papre")[0] == 2


def test_init_copies_one_that_is_valid_where_it_lies_and_overwrites_nothing(tmp_path: Path) -> None:
    code, output = run("init", "mine", "--experiment", "baselines/lwf")
    assert code == 0, output
    assert run("check", str(tmp_path / "mine" / "lwf.gin"))[0] == 0
    code, output = run("init", "mine", "--experiment", "baselines/lwf")
    assert code == 2
    assert "is there already" in output
    assert "did you mean quickstart" in run("init", "mine", "--experiment", "quickstrat")[1]
