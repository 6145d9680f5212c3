"""The drift of a run: against whichever base is there, the same on any number of processes, and without a trace in training."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import pytest
import torch
from mlflow import MlflowClient

from recap.evaluation.drift import AsModel, DriftMeter
from recap.evaluation.drift_prompts import drift_prompts
from recap.evaluation.evaluate import evaluation_seed
from recap.experiment.config import LoadedConfig
from recap.experiment.experiment import loads_base
from recap.learning.trainer import Trainer
from recap.runs.drift import DriftRecord, summary
from recap.runs.run_directory import read_record
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL
from tests.recap.runs.test_two_processes import train

Small = Callable[..., LoadedConfig]
MEASURED = (
    "train.capabilities = [@counting/Capability(), @naming/Capability()]",
    "Capability.examples = 2",
    "Capability.max_new_tokens = 4",
    "adamw.learning_rate = 1e-2",
    "train.evaluate_every = 1",
    "drift.prompts = 4",
    "drift.max_new_tokens = 6",
)
KINDS, DIRECTIONS = ("trained", "replayed", "untrained"), ("kl_model_base", "kl_base_model")
NAMES = [f"drift/{kind}/{direction}" for kind in KINDS for direction in DIRECTIONS]


def logged(run_id: str, name: str) -> dict[int, float]:
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    return {metric.step: metric.value for metric in client.get_metric_history(run_id, name)}


def test_measuring_leaves_training_alone(small: Small, tmp_path: Path) -> None:
    found = []
    for measures in (True, False):
        trainer = Trainer(small(*MEASURED).experiment)
        record = DriftRecord(trainer, tmp_path)
        with trainer.experiment.rewards:
            for _ in range(2):
                if measures:
                    assert record.measure().metrics
                trainer.step()
        found.append(trainer.loaded.model.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_it_can_be_left_out(small: Small, tmp_path: Path) -> None:
    trainer = Trainer(small(*MEASURED, "train.drift = None").experiment)
    assert not loads_base(trainer.experiment)
    (run := tmp_path / "run").mkdir()
    result = DriftRecord(trainer, run).measure()
    assert (result.metrics, result.lines, list(run.iterdir())) == ({}, [], [])


@pytest.mark.parametrize("binding", ["train.adapter = @lora()", "grpo.kl_coefficient = 0.1", ""])
def test_every_way_to_the_base_is_the_base(small: Small, tmp_path: Path, binding: str) -> None:
    """Against a base of the test's own: fresh weights of the same seed."""
    if "lora" in binding:
        pytest.importorskip("peft")
    experiment = small(*MEASURED, *[binding] * bool(binding)).experiment
    assert loads_base(experiment) == (not binding)
    trainer = Trainer(experiment)
    record = DriftRecord(trainer, tmp_path)
    with experiment.rewards:
        before = record.measure().metrics
        for _ in range(2):
            trainer.step()
    found = record.measure()
    assert set(before.values()) == {0.0}
    base = experiment.model.load()
    prompts = drift_prompts(experiment.domains, experiment.capabilities, ["grounding", "reading"], 4)
    assert experiment.drift is not None
    meter = DriftMeter(
        prompts,
        experiment.drift,
        model=lambda: nullcontext(trainer.loaded),
        base=lambda: nullcontext(base),
        temperature=1.0,
        seed=evaluation_seed(experiment.seed, "drift"),
        device=torch.device("cpu"),
    )
    base.model.eval()
    trainer.loaded.model.eval()
    with trainer.accelerator.autocast():
        ours, theirs = meter.sample(meter.model), meter.sample(meter.base)
        tokens = meter.divergence(ours, theirs)  # each completion behind a prompt of its own
    expected = summary(prompts, tokens)
    for kind in KINDS:
        for direction in DIRECTIONS:
            assert expected[kind][direction].mean > 1e-5
            assert found.found[kind][direction].mean == pytest.approx(expected[kind][direction].mean, rel=1e-3)


def test_another_base_is_none(small: Small, tmp_path: Path) -> None:
    experiment = small(*MEASURED).experiment
    trainer = Trainer(experiment)
    cast("TinyQwen2_5_VL", experiment.model).seed = 7  # as if its files had been written over
    result = DriftRecord(trainer, tmp_path).measure()
    assert result.metrics == {}
    assert "other weights than training began with" in result.lines[0]


def test_the_base_is_asked_once(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(small(*MEASURED).experiment)
    sampled: list[bool] = []
    sample = DriftMeter.sample
    kept = tmp_path / "drift" / "base_completions.json"

    def count(self: DriftMeter, by: AsModel) -> dict[int, list[int]]:
        sampled.append(by is self.base)
        return sample(self, by)

    monkeypatch.setattr(DriftMeter, "sample", count)
    texts = []
    for _ in range(2):
        DriftRecord(trainer, tmp_path).measure()  # a new one, as of a run that goes on
        texts.append(kept.read_bytes())
        with trainer.experiment.rewards:
            trainer.step()
    assert texts[0] == texts[1]
    assert sampled == [True, False]  # before the first step, the model says what its base does


def test_other_settings_ask_the_base_again(small: Small, tmp_path: Path) -> None:
    texts = []
    for tokens in (6, 3):
        trainer = Trainer(small(*MEASURED, f"drift.max_new_tokens = {tokens}").experiment)
        DriftRecord(trainer, tmp_path).measure()
        texts.append((tmp_path / "drift" / "base_completions.json").read_text())
    assert len(texts[1]) < len(texts[0])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("binding", ["train.mixed_precision = 'no'", "train.mixed_precision = 'bf16'"])
def test_two_processes_measure_what_one_does(small_bindings: list[str], tmp_path: Path, binding: str) -> None:
    bindings = [*small_bindings, "train.steps = 1", "checkpoints.save_model = False", *MEASURED, binding]
    arguments = [part for one in bindings for part in ("-b", one)]
    found = []
    for processes in (1, 2):
        run = tmp_path / str(processes)
        code, output = train(
            ["experiments/quickstart.gin", "--allow-unused", "--output", str(run), *arguments], processes=processes
        )
        assert code == 0, output[-3000:]
        found.append({name: logged(str(read_record(run).mlflow_run_id), name) for name in NAMES})
    one, two = found
    for name in NAMES:
        assert one[name][0] == two[name][0] == 0  # also in bf16: the base is held as the model is
        assert two[name][1] == pytest.approx(one[name][1], rel=0.02 if "no" in binding else 0.3)
        assert one[name][1] > 0
