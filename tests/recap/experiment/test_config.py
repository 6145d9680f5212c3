"""A typo gives one readable error that names the file, the binding and the near match."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from recap.experiment.config import ConfigError, load_config

ROOT = Path(__file__).resolve().parents[3]
QUICKSTART = ROOT / "experiments" / "quickstart.gin"


def error_of(tmp_path: Path, text: str, *bindings: str) -> str:
    file = tmp_path / "mine.gin"
    file.write_text(f"include '{QUICKSTART}'\n" + textwrap.dedent(text))
    with pytest.raises(ConfigError) as caught:
        load_config(file, bindings).experiment.check()
    return str(caught.value)


def test_a_mistyped_policy(tmp_path: Path) -> None:
    message = error_of(tmp_path, "train.reweighting = @reweighting.recpa\n")
    assert "mine.gin:" in message
    assert "no reweighting policy 'recpa'" in message
    assert "did you mean: recap" in message


def test_a_mistyped_verifier_in_a_mapping(tmp_path: Path) -> None:
    message = error_of(tmp_path, "grounding/Domain.objectives = {'iou': @verifiers.iuo()}\n")
    assert "mine.gin:" in message
    assert "did you mean: iou" in message


def test_a_mistyped_parameter(tmp_path: Path) -> None:
    message = error_of(tmp_path, "train.stesp = 3\n")
    assert "mine.gin:2" in message
    assert "'stesp'" in message
    assert "did you mean: steps" in message


def test_a_mistyped_configurable(tmp_path: Path) -> None:
    message = error_of(tmp_path, "rolout.group_size = 3\n")
    assert "mine.gin:2" in message
    assert "did you mean: rollout" in message


def test_a_mistyped_binding_on_the_command_line(tmp_path: Path) -> None:
    assert "did you mean: steps" in error_of(tmp_path, "", "train.stesp = 3")


def test_a_setting_that_cannot_work_names_its_binding_and_place(tmp_path: Path) -> None:
    message = error_of(tmp_path, "rollout.group_size = 1\n")
    assert "rollout.group_size must be at least 2" in message
    assert "mine.gin:2" in message


def test_a_mistyped_column(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"problem": "1+1=?", "answer": "2"}\n')
    file = tmp_path / "mine.gin"
    file.write_text(
        f"include '{QUICKSTART}'\n"
        "train.mixture = @mixtures.uniform()\n"
        "train.domains = [@file/Domain()]\n"
        "file/Domain.source = @replay.jsonl()\n"
        f"replay.jsonl.path = '{tmp_path}/rows.jsonl'\n"
        "replay.jsonl.columns = {'question': 'probelm', 'answer': 'answer'}\n"
        "file/Domain.objectives = {'accuracy': @verifiers.accuracy()}\n"
    )
    experiment = load_config(file).experiment
    with pytest.raises(ValueError, match="no column 'probelm'") as caught:
        experiment.check()
    message = str(caught.value)
    assert "rows.jsonl" in message
    assert "did you mean" in message
    assert "problem" in message
    assert "file/Domain.source" in message


def test_a_missing_file_gets_its_near_match() -> None:
    with pytest.raises(ConfigError, match=r"did you mean .*quickstart\.gin"):
        load_config(ROOT / "experiments" / "quickstrat.gin")


def test_an_undefined_macro(tmp_path: Path) -> None:
    assert "%STEPS" in error_of(tmp_path, "train.steps = %STEPS\n")


def test_a_class_without_parentheses(tmp_path: Path) -> None:
    assert "parentheses" in error_of(tmp_path, "grounding/Domain.objectives = {'iou': @verifiers.iou}\n")


def test_bindings_that_nothing_asks_for_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "mine.gin"
    file.write_text(f"include '{QUICKSTART}'\ngroundign/Domain.prompt = '{{question}}'\n")
    unused = load_config(file).unused
    assert unused == ["groundign/recap.Domain.prompt (did you mean grounding/?)"]


def test_later_bindings_win_and_the_operative_config_says_so() -> None:
    config = load_config(QUICKSTART, ["train.steps = 7", "train.reweighting = @reweighting.uniform"])
    assert config.experiment.steps == 7
    assert "train.steps = 7" in config.operative
    assert "@reweighting.uniform" in config.operative


def test_checking_an_experiment_loads_no_model() -> None:
    """`recap check` must stay quick: torch is imported, transformers' models and weights are not."""
    code = (
        "import sys\nfrom recap.experiment.config import load_config\n"
        f"load_config({str(QUICKSTART)!r}).experiment.check()\n"
        "bad = [m for m in sys.modules if m.startswith(('transformers.models.qwen', 'datasets', 'mlflow.', 'sklearn'))]\n"
        "sys.exit(f'loaded {bad[:5]}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
