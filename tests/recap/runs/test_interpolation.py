"""`recap interpolate`: its ends are the run's own evaluations, and no second model is held."""

from __future__ import annotations

import csv
import gc
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from typer.testing import CliRunner

from recap.cli import app
from recap.evaluation.outcomes import Outcomes, read_outcomes
from recap.experiment.config import LoadedConfig
from recap.runs import interpolation
from recap.runs.interpolation import interpolate_run, parse_alphas, read_interpolation
from recap.runs.outcomes import file_name
from recap.runs.run import Run
from recap.runs.run_directory import read_record
from tests.processes import torchrun

ROOT = Path(__file__).resolve().parents[3]

MEASURED = (
    "train.steps = 1",
    "train.capabilities = [@counting/Capability(), @arithmetic/Capability()]",
    "Capability.examples = 4",
    "Capability.samples = 1",
    "Capability.max_new_tokens = 12",
    "adamw.learning_rate = 1e-2",
    "backends.tiny_qwen2_5_vl.weights = None",
)


@pytest.mark.parametrize(
    "adapter", [(), pytest.param(("train.adapter = @lora()",), marks=pytest.mark.slow)], ids=["whole", "lora"]
)
def test_the_ends_are_the_base_and_the_trained_model(
    small: Callable[..., LoadedConfig], tmp_path: Path, adapter: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if adapter:
        pytest.importorskip("peft")
    config, directory = small(*MEASURED, *adapter), tmp_path / "run"
    run = Run(config.experiment, directory, name="test", operative_config=config.operative)
    run.execute()
    trained = sum(tensor.numel() for tensor in run.trainer.loaded.model.parameters())
    run_id = str(run.tracker.run_id)
    before = _numbers_held()
    evaluate, held = interpolation.evaluate, []

    def watched(*given: Any, **named: Any) -> Outcomes:
        held.append(_numbers_held() - before)
        return evaluate(*given, **named)

    monkeypatch.setattr(interpolation, "evaluate", watched)
    measured, notes = interpolate_run(config.experiment, directory, parse_alphas("0:1:0.5"))
    assert max(held) < 2.2 * trained  # the model, and its base; not the moments of the optimizer
    found = read_interpolation(directory)
    for alpha, step in ((0.0, 0), (1.0, 1)):
        assert found[alpha] == read_outcomes(directory / "outcomes" / file_name(step))[0]
    assert found[0.0] != found[1.0]

    assert "has all of run" in notes[0]
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    points = client.get_metric_history(run_id, "interpolated/counting")
    assert {point.step: point.value for point in points} == {
        round(100 * alpha): scores["counting"].score for alpha, (scores, _) in measured.items()
    }
    assert client.get_run(run_id).info.status == "FINISHED"
    with (directory / "interpolation" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["alpha"], row["capability"]) for row in rows[:2]] == [("0.0", "counting"), ("0.0", "arithmetic")]
    assert float(rows[-1]["score"]) == measured[1.0][0]["arithmetic"].score


@pytest.mark.slow
def test_two_processes_find_what_one_finds(small_bindings: list[str], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    bindings = [*small_bindings, *MEASURED, "Capability.examples = 5"]  # which two processes cannot share evenly
    trained = ["train", str(ROOT / "experiments" / "quickstart.gin"), "--allow-unused", "--output", str(directory)]
    result = CliRunner().invoke(app, [*trained, *(part for binding in bindings for part in ("-b", binding))])
    assert result.exit_code == 0, result.output
    found = []
    for processes in (1, 2):
        command = ["-m", "recap", "interpolate", str(directory), "--alphas", "0,0.5,1"]
        done = torchrun(*command, processes=processes)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("(1 - alpha) base + alpha trained") == 1
        assert done.stdout.count("has all of run") == 1
        found.append((read_interpolation(directory), (directory / "interpolation" / "scores.csv").read_text()))
        shutil.rmtree(directory / "interpolation")
    assert found[0] == found[1]
    points = MlflowClient().get_metric_history(str(read_record(directory).mlflow_run_id), "interpolated/counting")
    by_step = [(point.step, point.value) for point in points]
    assert len(by_step) == 6
    assert len(set(by_step)) == 3  # the same values from both, each once


def _numbers_held() -> int:
    """Of all tensors in memory, those that share theirs once."""
    interval = sys.getswitchinterval()
    # Another thread may be in the middle of a tuple, and fails if that is held when it goes on.
    sys.setswitchinterval(60)
    try:
        gc.collect()
        tensors = (item for item in gc.get_objects() if isinstance(item, torch.Tensor))
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() // 4 for t in tensors}.values())
    finally:
        sys.setswitchinterval(interval)


def test_alphas() -> None:
    assert parse_alphas("0:1:0.25") == [0, 0.25, 0.5, 0.75, 1]
    assert parse_alphas("0:1:0.3") == [0, 0.3, 0.6, 0.9]
    assert parse_alphas("1,0.5,0.5") == [0.5, 1]
    for wrong in ("", "0:1", "0:2:0.5", "-0.1", "0.005", "0:1:0", "half"):
        with pytest.raises(ValueError, match="write START:END:STEP"):
            parse_alphas(wrong)
