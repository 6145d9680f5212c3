"""What MLflow shows of a run's completions and models: groups with pictures and rewards, checkpoints with scores."""

from __future__ import annotations

import json
import math
import os
import urllib.request
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from mlflow import MlflowClient
from mlflow.entities import Trace
from mlflow.tracing.client import TracingClient
from PIL import Image

from recap.experiment.config import LoadedConfig
from recap.runs.mlflow_run import MLflowRun
from recap.runs.mlflow_traces import send_groups
from recap.runs.run import Run
from tests.recap.runs.conftest import Server

GROUP: dict[str, Any] = {
    "step": 9, "domain": "maths", "example": "maths/1", "occurrence": 0, "at": 1_700_000_000_000, "pictures": [],
    "question": "1+1? \ud800", "system": None, "shots": [], "reference": "2", "prompt_tokens": 4,
    "weights": {"accuracy": 1.0},
    "completions": [
        {
            "text": "3", "tokens": 1, "truncated": False, "rewards": {"brevity": math.nan, "ease": 0.5},
            "faults": {"accuracy": "it broke"}, "advantages": {"brevity": math.inf, "ease": 0.0}, "advantage": math.nan,
        }
    ],
}  # fmt: skip


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
    assert not any(set("/?#%") & set(session) for session in sessions)  # MLflow has no page for such a name
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
    for _ in range(2):
        send_groups(client(), str(run.tracker.run_id), experiment_id, [GROUP])
    traces = client().search_traces(locations=[experiment_id], max_results=100)
    assert len(traces) == before + 1
    check_failed(traces)


def check_failed(traces: list[Trace]) -> None:
    """That of `GROUP`: a verifier that broke, and a reward that is no number, are errors."""
    (failed,) = [trace for trace in traces if trace.info.tags["step"] == "9"]
    assert failed.info.state == "ERROR"
    found = {one.name: one for one in failed.info.assessments}
    assert found["accuracy"].error.error_message == "it broke"
    assert found["brevity"].error.error_message == "its reward is NaN"
    assert (found["ease"].value, found["ease"].error) == (0.5, None)
    (span,) = failed.data.spans
    attributes = [span.attributes[name] for name in ("advantage/brevity", "advantage/ease", "advantage")]
    assert attributes == ["Infinity", 0.0, "NaN"]


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


@pytest.mark.slow
def test_a_server_that_only_the_run_names_gets_the_same(
    small: Callable[..., LoadedConfig], tmp_path: Path, unnamed_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(
        f"tracking.uri = '{unnamed_server.url}'", "tracking.rollouts_every = 1", "train.steps = 1",
        "train.capabilities = [@arithmetic/Capability()]", "Capability.examples = 4", "train.evaluate_every = 1",
    )  # fmt: skip
    run = Run(config.experiment, tmp_path / "run", name="mine", operative_config=config.operative)
    run.tracker._spill.put({"group": GROUP})
    run.execute()
    assert not (tmp_path / "run" / "tracking" / "refused.jsonl").exists()
    assert not list(tmp_path.rglob("mlruns"))
    server, run_id = MlflowClient(tracking_uri=unnamed_server.url), str(run.tracker.run_id)
    found = server.get_run(run_id)
    traces = server.search_traces(locations=[found.info.experiment_id], max_results=100)
    assert {trace.info.tags["domain"] for trace in traces} == {"counting", "arithmetic", "grounding", "maths"}
    check_failed(traces)
    (grounding, *_) = [trace for trace in traces if trace.info.tags["domain"] == "grounding"]
    (picture, _) = grounding.data.spans[0].inputs["messages"][0]["content"]
    address = urlsplit(picture["image_url"]["url"])
    page = f"get-trace-artifact?request_id={parse_qs(address.query)['trace_id'][0]}&path={address.netloc}"
    with urllib.request.urlopen(f"{unnamed_server.url}/ajax-api/3.0/mlflow/{page}", timeout=30) as shown:
        assert Image.open(BytesIO(shown.read())).format == "PNG"
    models = {model.tags["recap.step"]: model for model in server.search_logged_models([found.info.experiment_id])}
    assert set(models) == {"0", "1"}
    for step, model in models.items():
        (score,) = [metric for metric in model.metrics if metric.key == "capability/arithmetic"]
        (logged,) = [one for one in server.get_metric_history(run_id, score.key) if one.step == int(step)]
        assert (score.value, score.dataset_name) == (logged.value, "arithmetic")

    def missing(*_: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(TracingClient, "log_spans", missing)  # as for servers before 3.4
    send_groups(server, run_id, found.info.experiment_id, [{**GROUP, "step": 10}])
    infos = [one.info for one in server.search_traces([found.info.experiment_id], include_spans=False)]
    (info,) = [info for info in infos if info.tags["step"] == "10"]
    (file,) = (unnamed_server.folder / "artifacts").rglob(f"{info.trace_id}/artifacts/traces.json")
    assert json.loads(file.read_text())["spans"][0]["name"] == "maths"
