"""A run from start to end: what MLflow holds, interruption, resumption, hopeless steps."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from recap.config import LoadedConfig
from recap.run import Run, TrainingStopped
from recap.trainer import Trainer

Small = Callable[..., LoadedConfig]


def start(config: LoadedConfig, directory: Path, resume: Path | None = None) -> Run:
    return Run(config.experiment, directory, name="test", operative_config=config.operative, resume=resume)


def client() -> MlflowClient:
    return MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])


def history(run_id: str, metric: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client().get_metric_history(run_id, metric)]


def test_mlflow_holds_the_whole_run(small: Small, tmp_path: Path) -> None:
    config = small(
        "train.capabilities = [@grounding/Capability(), @arithmetic/Capability()]",
        "Capability.examples = 4",
        "reweighting.recap.window = 1",
    )
    run = start(config, tmp_path / "run")
    scores = run.execute()
    assert set(scores) == {0, 3}
    assert run.tracker.run_id is not None
    logged = client().get_run(run.tracker.run_id)
    assert logged.info.status == "FINISHED"
    for quantity in ("signal", "weight", "loss"):
        for objective in ("accuracy", "thinking_format", "iou", "answer_format", "next_token"):
            assert [step for step, _ in history(run.tracker.run_id, f"{quantity}/{objective}")] == [1, 2, 3]
    assert [s for s, _ in history(run.tracker.run_id, "convergence/accuracy")]
    assert [s for s, _ in history(run.tracker.run_id, "instability/accuracy")]
    assert [s for s, _ in history(run.tracker.run_id, "capability/grounding")] == [0, 3]
    assert len(history(run.tracker.run_id, "tokens_per_second")) == 3
    assert logged.data.params["reweighting"] == "Recap"
    artifacts = {item.path for item in client().list_artifacts(run.tracker.run_id)}
    assert artifacts >= {"operative_config.gin", "environment.json", "rollouts.json"}

    def read(name: str) -> str:
        return Path(client().download_artifacts(str(run.tracker.run_id), name, str(tmp_path))).read_text()

    assert "window = 1" in read("operative_config.gin")
    assert "torch" in json.loads(read("environment.json"))["packages"]
    table = json.loads(read("rollouts.json"))
    assert {"step", "prompt", "completion", "reference", "rewards"} <= set(table["columns"])
    assert len(table["data"]) > 0


def test_the_trained_model_loads_as_a_plain_directory(small: Small, tmp_path: Path) -> None:
    from registry.backends.huggingface import HuggingFace

    run = start(small("train.steps = 1"), tmp_path / "run")
    run.execute()
    loaded = HuggingFace(str(tmp_path / "run" / "model"), dtype="float32").load()
    for (name, ours), theirs in zip(
        run.trainer.loaded.model.named_parameters(), loaded.model.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, msg=name)
    assert loaded.sees_images


def test_a_signal_saves_a_checkpoint_and_closes_the_run_as_killed(small: Small, tmp_path: Path) -> None:
    run = start(small("train.steps = 500"), tmp_path / "run")
    step = run.trainer.step

    def step_then_signal() -> Any:
        result = step()
        if run.trainer.step_number == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    run.trainer.step = step_then_signal  # type: ignore[method-assign]
    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt):
        run.execute()
    assert run.tracker.run_id is not None
    assert client().get_run(run.tracker.run_id).info.status == "KILLED"
    assert (tmp_path / "run" / "checkpoint-000002" / "recap_state.json").is_file()


def test_a_resumed_run_goes_on_as_if_nothing_had_happened(small: Small, tmp_path: Path) -> None:
    bindings = ("train.steps = 4", "checkpoints.every = 2", "reweighting.recap.window = 1")
    whole = start(small(*bindings), tmp_path / "whole")
    whole.execute()
    resumed = start(small(*bindings), tmp_path / "whole", resume=tmp_path / "whole" / "checkpoint-000002")
    assert resumed.tracker.run_id == whole.tracker.run_id
    before = history(str(whole.tracker.run_id), "loss")[2:]
    resumed.execute()
    after = history(str(whole.tracker.run_id), "loss")[4:]
    assert after == before
    for ours, theirs in zip(
        whole.trainer.loaded.model.parameters(), resumed.trainer.loaded.model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_steps_that_are_never_finite_stop_the_run_with_a_checkpoint(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(small("train.steps = 50", "train.max_skipped_steps = 3"), tmp_path / "run")
    forward = run.trainer.scorer.forward

    def broken(*args: object, **kwargs: object) -> Any:
        scores = forward(*args, **kwargs)
        return scores._replace(log_probs=scores.log_probs * float("inf"))

    monkeypatch.setattr(run.trainer.scorer, "forward", broken)
    with pytest.raises(TrainingStopped, match="3 steps in a row were not finite"):
        run.execute()
    assert run.trainer.step_number == 3
    assert (tmp_path / "run" / "checkpoint-000003").is_dir()
    assert run.tracker.run_id is not None
    assert client().get_run(run.tracker.run_id).info.status == "FAILED"
    assert all(torch.isfinite(p).all() for p in Trainer(run.experiment).loaded.model.parameters())


def test_malformed_rows_are_skipped_counted_and_reported(small: Small, tmp_path: Path) -> None:
    rows = [json.dumps({"question": f"{i}+1=?", "answer": str(i + 1)}) for i in range(40)]
    rows[20:25] = ["this is not json"] * 5
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    config = small(
        f"replay.jsonl.path = '{tmp_path}/rows.jsonl'",
        "train.mixture = @mixtures.uniform()",
        "train.domains = [@file/Domain()]",
        "file/Domain.source = @replay.jsonl()",
        "file/Domain.objectives = {'next_token': @next_token_prediction()}",
        "train.steps = 5",
    )
    run = start(config, tmp_path / "run")
    run.execute()
    assert run.trainer.domains[0].source.malformed.total() == 5
    assert history(str(run.tracker.run_id), "malformed/file")[-1] == (5, 5.0)
