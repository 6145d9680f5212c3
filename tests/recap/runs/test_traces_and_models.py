"""What MLflow shows of a run's completions and models: groups with pictures and rewards, checkpoints with scores."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient

from recap.experiment.config import LoadedConfig
from recap.runs.mlflow_run import MLflowRun
from recap.runs.mlflow_traces import send_group
from recap.runs.run import Run


def client() -> MlflowClient:
    return MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])


def executed(small: Callable[..., LoadedConfig], tmp_path: Path, *bindings: str) -> tuple[Run, str]:
    config = small("train.steps = 2", "tracking.rollouts_every = 2", *bindings)
    run = Run(config.experiment, tmp_path / "run", name="mine", operative_config=config.operative)
    run.execute()
    found = client().get_run(str(run.tracker.run_id))
    return run, str(found.info.experiment_id)


def test_completions_are_traces_with_their_pictures_and_rewards(
    small: Callable[..., LoadedConfig], tmp_path: Path
) -> None:
    run, experiment_id = executed(small, tmp_path)
    traces = client().search_traces(locations=[experiment_id], max_results=100)
    by_step = Counter(trace.info.tags["step"] for trace in traces)
    assert set(by_step) == {"1", "2"}
    sessions = Counter(trace.info.trace_metadata["mlflow.trace.session"] for trace in traces)
    assert set(sessions.values()) == {2}  # the completions of a group together
    assert {trace.info.trace_metadata["mlflow.sourceRun"] for trace in traces} == {run.tracker.run_id}
    (grounding, *_) = [trace for trace in traces if trace.info.tags["domain"] == "grounding"]
    (span,) = grounding.data.spans
    picture, text = span.inputs["messages"][0]["content"]
    assert picture["image_url"]["url"].startswith("mlflow-attachment://")
    assert "where is the" in text["text"]
    rewards = {one.name: one for one in grounding.info.assessments}
    assert set(rewards) == {"reference", "iou", "answer_format"}
    assert 0 <= rewards["iou"].value <= 1
    assert span.attributes["weight/iou"] == 1.0
    assert "advantage/iou" in span.attributes


def test_a_group_that_is_sent_again_is_there_once(small: Callable[..., LoadedConfig], tmp_path: Path) -> None:
    run, experiment_id = executed(small, tmp_path, "train.steps = 1")
    before = len(client().search_traces(locations=[experiment_id], max_results=100))
    group = {
        "step": 9, "domain": "maths", "example": "maths/1", "occurrence": 0, "at": 1_700_000_000_000, "pictures": [],
        "question": "1+1? \ud800", "system": None, "shots": [], "reference": "2", "prompt_tokens": 4,
        "weights": {"accuracy": 1.0},
        "completions": [
            {
                "text": "3", "tokens": 1, "truncated": False, "rewards": {}, "faults": {"accuracy": "it broke"},
                "advantages": {}, "advantage": None,
            }
        ],
    }  # fmt: skip
    for _ in range(2):
        send_group(client(), str(run.tracker.run_id), json.loads(json.dumps(group)))
    traces = client().search_traces(locations=[experiment_id], max_results=100)
    assert len(traces) == before + 1
    (failed,) = [trace for trace in traces if trace.info.tags["step"] == "9"]
    assert failed.info.state == "ERROR"
    assert [one.error.error_message for one in failed.info.assessments if one.name == "accuracy"] == ["it broke"]


def test_base_and_checkpoints_are_models_with_their_scores(small: Callable[..., LoadedConfig], tmp_path: Path) -> None:
    run, experiment_id = executed(
        small, tmp_path, "train.capabilities = [@arithmetic/Capability()]", "Capability.examples = 4",
        "train.evaluate_every = 1", "checkpoints.every = 1", "checkpoints.keep = 1", "train.steps = 3",
    )  # fmt: skip
    models = {int(model.tags["recap.step"]): model for model in client().search_logged_models([experiment_id])}
    assert set(models) == {0, 1, 2, 3}
    logged = client().get_run(str(run.tracker.run_id)).data.metrics
    last = {metric.key: metric for metric in models[3].metrics}
    assert last["capability/arithmetic"].value == logged["capability/arithmetic"]
    assert last["capability/arithmetic"].dataset_name == "arithmetic"
    assert models[3].params["path"] == str(tmp_path / "run" / "checkpoint-000003")
    kept = {step for step, model in models.items() if model.tags.get("recap.checkpoint") == "kept"}
    there = {int(path.name[-6:]) for path in (tmp_path / "run").glob("checkpoint-0*")}
    assert kept - {0} == there
    sender = MLflowRun(os.environ["MLFLOW_TRACKING_URI"], str(run.tracker.run_id), tmp_path / "run")
    sender.send([{"model": {"step": 3, "params": {}, "kept": []}}], look=True)  # again: nothing new
    assert len(client().search_logged_models([experiment_id])) == 4
