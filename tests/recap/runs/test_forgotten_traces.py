"""Forgotten examples in MLflow: what a person finds of them one by one, with their pictures."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient
from mlflow.entities import Trace
from PIL import Image

from recap.evaluation.outcomes import read_outcomes
from recap.experiment.config import LoadedConfig
from recap.runs.forgotten_entry import EACH
from recap.runs.run import Run

Small = Callable[..., LoadedConfig]
FORGETS = (
    "train.capabilities = [@reading/Capability(), @copying/Capability()]",
    "Capability.examples = 5",
    "Capability.max_new_tokens = 20",
    "adamw.learning_rate = 3e-2",
    "train.drift = None",
    "backends.tiny_qwen2_5_vl.weights = None",
    "train.steps = 1",
)  # one such step leaves nothing of what the shipped model can do


def traces_of(small: Small, directory: Path, *bindings: str) -> tuple[Run, list[Trace]]:
    """A run that forgets, and its traces of what it forgot, newest first."""
    config = small(*FORGETS, *bindings)
    run = Run(config.experiment, directory, name="mine", operative_config=config.operative)
    run.execute()
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.get_run(str(run.tracker.run_id)).info.experiment_id
    found = client.search_traces(
        [experiment], filter_string="trace.name LIKE 'forgotten: %'", max_results=200, order_by=["timestamp_ms DESC"]
    )
    assert {trace.info.tags["mlflow.traceName"] for trace in client.search_traces([experiment], max_results=200)} > {
        trace.info.tags["mlflow.traceName"] for trace in found
    }  # sampled ones are there, and not among those that the filter found
    return run, list(found)


def test_forgotten_examples_are_traces_with_both_answers(small: Small, tmp_path: Path) -> None:
    run, traces = traces_of(small, tmp_path / "run")
    base, now = (read_outcomes(tmp_path / "run" / "outcomes" / f"step-00000{step}.parquet")[0] for step in (0, 1))
    assert {trace.info.trace_metadata["mlflow.sourceRun"] for trace in traces} == {run.tracker.run_id}
    by_step = Counter((trace.info.tags["step"], trace.info.tags["forgotten"]) for trace in traces)
    assert by_step[("1", "reading")] == by_step[("1", "copying")] == EACH
    sessions = Counter(trace.info.trace_metadata["mlflow.trace.session"] for trace in traces)
    assert set(sessions.values()) == {EACH}
    of_run = str(run.tracker.run_id)[:8]
    assert set(sessions) == {f"forgotten {name} step 1 {of_run}" for name in ("reading", "copying")}
    rows = {row.example: (row, was) for row, was in zip(now["reading"], base["reading"], strict=True)}
    trace = next(trace for trace in traces if trace.info.tags["mlflow.traceName"] == "forgotten: reading")
    row, was = rows[trace.info.tags["example"]]
    (span,) = trace.data.spans
    said = span.outputs["choices"][0]["message"]["content"]
    assert said.index(f"base model, score {was.score:.2f}:**\n\n{was.completion}") < said.index(
        f"step 1, score {row.score:.2f}:**\n\n{row.completion}"
    )
    found = {one.name: one.value for one in trace.info.assessments}
    assert (found["reference"], found["score before"], found["score now"]) == (row.reference, was.score, row.score)
    picture, question = span.inputs["messages"][0]["content"]
    assert question["text"].startswith(row.question)
    name = urlsplit(picture["image_url"]["url"]).netloc
    (file,) = tmp_path.rglob(f"{trace.info.trace_id}/artifacts/attachments/{name}")
    example = next(c for c in run.experiment.capabilities if c.name == "reading").source.example(row.position)
    assert Image.open(BytesIO(file.read_bytes())).tobytes() == example.images[0].tobytes()


@pytest.mark.slow
def test_every_evaluation_has_its_own_and_no_more_than_a_table_has(small: Small, tmp_path: Path) -> None:
    more = ("train.steps = 2", "train.evaluate_every = 1", "tracking.rollouts_per_table = 1")
    _, traces = traces_of(small, tmp_path / "run", *more)
    found = [(trace.info.tags["step"], trace.info.tags["forgotten"]) for trace in traces]
    assert found == [("2", "copying"), ("2", "reading"), ("1", "copying"), ("1", "reading")]
