"""`recap interpolate`: its ends are the run's own evaluations, and no second model is held."""

from __future__ import annotations

import csv
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from recap.evaluation.outcomes import Outcomes, read_outcomes
from recap.experiment.config import LoadedConfig
from recap.runs import interpolation
from recap.runs.interpolation import interpolate_run, parse_alphas, read_interpolation
from recap.runs.outcomes import file_name
from recap.runs.run import Run

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


def _numbers_held() -> int:
    """Of all tensors in memory, those that share theirs once."""
    gc.collect()
    tensors = (item for item in gc.get_objects() if isinstance(item, torch.Tensor))
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() // 4 for t in tensors}.values())


def test_alphas() -> None:
    assert parse_alphas("0:1:0.25") == [0, 0.25, 0.5, 0.75, 1]
    assert parse_alphas("0:1:0.3") == [0, 0.3, 0.6, 0.9]
    assert parse_alphas("1,0.5,0.5") == [0.5, 1]
    for wrong in ("", "0:1", "0:2:0.5", "-0.1", "0.005", "0:1:0", "half"):
        with pytest.raises(ValueError, match="write START:END:STEP"):
            parse_alphas(wrong)
