"""What a run keeps of its evaluations: in its directory, in MLflow, and over a resume."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from recap.evaluation.outcomes import Outcome, Outcomes, read_outcomes
from recap.evaluation.scores import CapabilityScore, score_of
from recap.experiment.config import LoadedConfig
from recap.runs import outcomes as kept
from recap.runs.forgotten_table import forgotten_rows
from recap.runs.measured import read_run
from recap.runs.run import Run
from recap.runs.scores import ScoreHistory, forgetting_metrics, sample_metrics

Small = Callable[..., LoadedConfig]
MEASURED = (
    "train.capabilities = [@counting/Capability(), @arithmetic/Capability()]",
    "Capability.examples = 6",
    "Capability.samples = 2",
    "Capability.max_new_tokens = 48",
    "adamw.learning_rate = 1e-3",
    "train.evaluate_every = 1",
    "backends.tiny_qwen2_5_vl.weights = None",
)


def start(config: LoadedConfig, directory: Path, resume: Path | None = None) -> Run:
    return Run(config.experiment, directory, name="test", operative_config=config.operative, resume=resume)


def client() -> MlflowClient:
    return MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])


def test_a_run_keeps_what_came_of_every_example(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(small("train.steps = 2", *MEASURED), tmp_path / "run")
    scores = run.execute()
    assert capsys.readouterr().out.count("drift in nats per token") == 3
    names = [f"step-{step:06d}.parquet" for step in range(3)]
    assert sorted(path.name for path in (tmp_path / "run" / "outcomes").iterdir()) == names
    run_id = str(run.tracker.run_id)
    sent = Path(client().download_artifacts(run_id, "outcomes", str(tmp_path)))
    for step, name in enumerate(names):
        outcomes, about = read_outcomes(tmp_path / "run" / "outcomes" / name)
        assert {capability: score_of(rows) for capability, rows in outcomes.items()} == scores[step]
        assert all(len(rows) == 6 * 3 for rows in outcomes.values())
        assert (sent / name).read_bytes() == (tmp_path / "run" / "outcomes" / name).read_bytes()
        assert (about["step"], about["seed"], about["steps"], about["run"]) == (step, 0, 2, "test")
        assert about["settings"]["reweighting"] == "Recap"
        assert "train.steps = 2" in about["configuration"]
        assert about["capabilities"]["counting"]["samples"] == "2"
        assert about["capabilities"]["counting"]["verifier"] == "Accuracy"
    logged = client().get_run(run_id).data.metrics
    for name in ("counting", "arithmetic"):
        assert logged[f"capability_tokens/{name}"] > 1
        assert logged[f"capability_lenient/{name}"] >= logged[f"capability/{name}"]
        assert {f"forgotten/{name}", f"gained/{name}", f"retention/{name}", f"below_peak/{name}"} <= set(logged)
        assert {f"pass_at_1/{name}", f"pass_at_2/{name}", f"noise_floor/{name}"} <= set(logged)
        change = logged[f"gained/{name}"] - logged[f"forgotten/{name}"]
        assert change == pytest.approx(scores[2][name].score - scores[0][name].score)
    assert 0 <= logged["forgetting_index"] <= 1
    assert [m.step for m in client().get_metric_history(run_id, "forgotten/counting")] == [1, 2]
    for kind, direction in itertools.product(("trained", "replayed"), ("kl_model_base", "kl_base_model")):
        history = {m.step: m.value for m in client().get_metric_history(run_id, f"drift/{kind}/{direction}")}
        assert history[0] == 0 < min(history[1], history[2])
        for step, value in history.items():
            about = read_outcomes(tmp_path / "run" / "outcomes" / f"step-{step:06d}.parquet")[1]
            assert about["drift"][kind][direction]["mean"] == value
    assert logged["drift_standard_error/trained/kl_model_base"] > 0
    lost = any(logged[f"forgotten/{name}"] for name in ("counting", "arithmetic"))
    tables = [item.path for item in client().list_artifacts(run_id, "forgotten")]
    assert ("forgotten/step-000002.json" in tables) == lost


def test_a_run_says_what_is_not_held_out(small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = "held_out/replay.counting.split = 'train'"
    config = ("train.steps = 1", "train.capabilities = [@counting/Capability()]", "Capability.examples = 3")
    for bindings, expected in (((), 0), ((same,), 1)):
        start(small(*config, *bindings), tmp_path / str(expected)).execute()
        assert capsys.readouterr().out.count("counting trains on examples that counting is measured on") == expected


class Died(Exception):
    pass


def test_a_resumed_run_keeps_the_same(small: Small, tmp_path: Path) -> None:
    config = ("train.steps = 2", "checkpoints.every = 1", *MEASURED)
    whole = start(small(*config), tmp_path / "whole")
    whole.execute()
    run = start(small(*config), tmp_path / "run")
    step = run.trainer.step

    def step_or_die() -> Any:
        if run.trainer.step_number == 1:
            raise Died
        return step()

    run.trainer.step = step_or_die  # type: ignore[method-assign]
    with pytest.raises(Died):
        run.execute()
    resumed = start(small(*config), tmp_path, resume=tmp_path / "run")
    resumed.execute()
    for name in (f"step-{step:06d}.parquet" for step in range(3)):
        ours, theirs = (read_outcomes(tmp_path / place / "outcomes" / name)[0] for place in ("run", "whole"))
        assert ours == theirs

    def metrics(of: Run) -> dict[str, list[float]]:
        run_id = str(of.tracker.run_id)
        names = [
            name
            for name in client().get_run(run_id).data.metrics
            if "forg" in name or "gained" in name or "drift" in name
        ]
        return {name: [m.value for m in client().get_metric_history(run_id, name)] for name in names}

    assert {"forgotten/counting", "drift/trained/kl_model_base"} <= set(metrics(whole))
    assert metrics(resumed) == metrics(whole)


@pytest.mark.parametrize("step", [0, 1])
def test_an_evaluation_whose_record_fails_is_made_again(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """As on a disk that is full for a moment: the run ends, and the one that goes on lacks nothing."""
    measured = (
        "train.capabilities = [@arithmetic/Capability()]",
        "Capability.examples = 2",
        "train.evaluate_every = 1",
    )
    config = small("train.steps = 1", "checkpoints.save_model = False", *measured)
    write = kept.write_outcomes

    def full(path: Path, *given: Any) -> None:
        if path.name == kept.file_name(step):
            raise OSError(28, "No space left on device")
        write(path, *given)

    with monkeypatch.context() as patch:
        patch.setattr(kept, "write_outcomes", full)
        with pytest.raises(OSError, match="No space left"):
            start(config, tmp_path / "run").execute()
    again = start(config, tmp_path, resume=tmp_path / "run")
    assert list(again.execute()) == [0, 1]
    for wanted in (0, 1):
        assert (tmp_path / "run" / "outcomes" / kept.file_name(wanted)).is_file()
    for name, steps in {"capability/arithmetic": [0, 1], "below_peak/arithmetic": [1]}.items():
        assert [m.step for m in client().get_metric_history(str(again.tracker.run_id), name)] == steps


def test_a_fork_is_measured_against_the_base_of_its_parent(small: Small, tmp_path: Path) -> None:
    config = ("train.steps = 2", "checkpoints.every = 1", *MEASURED)
    parent = start(small(*config), tmp_path / "parent")
    parent.execute()
    forked = Run(
        small(*config, "adamw.learning_rate = 1e-5").experiment,
        tmp_path / "fork",
        resume=tmp_path / "parent" / "checkpoint-000001",
        fork=True,
    )
    forked.execute()
    said = [(tmp_path / place / "drift" / "base_completions.json").read_bytes() for place in ("parent", "fork")]
    assert said[0] == said[1]
    run = read_run(tmp_path / "fork" / "outcomes", "fork")
    assert run.base == read_run(tmp_path / "parent" / "outcomes", "parent").base
    assert run.step == 2
    logged = client().get_run(str(forked.tracker.run_id)).data.metrics
    assert "forgotten/counting" in logged
    sent = [item.path for item in client().list_artifacts(str(forked.tracker.run_id), "outcomes")]
    assert sent == [f"outcomes/step-{step:06d}.parquet" for step in range(3)]


def test_metrics_by_hand(outcome: Callable[..., Outcome]) -> None:
    def rows(scores: list[float], lenient: list[float], **values: Any) -> list[Outcome]:
        return [outcome(n, score, lenient=lenient[n], **values) for n, score in enumerate(scores)]

    base: Outcomes = {"sums": rows([1, 1, 0, 1], [1, 1, 0, 1]), "pick": rows([1, 1, 1, 0], [1] * 4, chance=0.25)}
    now: Outcomes = {"sums": rows([1, 0, 1, 0], [1, 1, 1, 0]), "pick": rows([1, 0, 0, 0], [1] * 4, chance=0.25)}
    score = CapabilityScore(score=0.75, standard_error=0, formatted=1, examples=4)
    history = ScoreHistory({0: dict.fromkeys(base, score), 1: {name: score_of(found) for name, found in now.items()}})
    found = forgetting_metrics(base, now, history)
    assert found["forgotten/sums"] == 0.5
    assert found["gained/sums"] == 0.25
    assert found["retention/sums"] == pytest.approx(0.5 / 0.75)
    assert found["forgotten_lenient/sums"] == 0.25  # the other one only lost the format
    assert found["below_peak/sums"] == 0.25
    assert found["retention_above_chance/pick"] == pytest.approx(0, abs=1e-9)  # a quarter right is what guessing gives
    assert found["forgetting_index"] == pytest.approx(1 - (0.5 / 0.75 + 0) / 2)
    assert not any("sampled" in name or "floor" in name for name in found)


def test_a_capability_that_an_evaluation_lacked_is_below_its_peak_of_the_others(
    outcome: Callable[..., Outcome],
) -> None:
    """As of a run that was resumed without it, and again with it."""
    rows = {"sums": [outcome(0, 1.0)], "words": [outcome(0, 1.0)]}
    scores = {name: score_of(found) for name, found in rows.items()}
    lower = {"sums": score_of([outcome(0, 0.0)]), "words": score_of([outcome(0, 0.5)])}
    history = ScoreHistory({0: scores, 1: {"sums": scores["sums"]}, 2: lower})
    found = forgetting_metrics(rows, rows, history)
    assert (found["below_peak/sums"], found["below_peak/words"]) == (1.0, 0.5)


def test_samples_give_pass_at_k_and_a_noise_floor(outcome: Callable[..., Outcome]) -> None:
    def rows(*scores: tuple[float, ...]) -> list[Outcome]:
        greedy = [outcome(n, 1.0) for n in range(len(scores))]
        sampled = [outcome(n, s, sample=m + 1) for n, row in enumerate(scores) for m, s in enumerate(row)]
        return [*greedy, *sampled]

    base, now = {"sums": rows((1, 0), (1, 1))}, {"sums": rows((0, 0), (1, 0))}
    assert sample_metrics(now) == {"pass_at_1/sums": 0.25, "pass_at_2/sums": 0.5}
    one = CapabilityScore(score=1, standard_error=0, formatted=1, examples=2)
    found = forgetting_metrics(base, now, ScoreHistory({0: {"sums": one}, 1: {"sums": one}}))
    assert found["noise_floor/sums"] == pytest.approx(0.25)  # p (1 - p) 2 / 1, of the first example alone
    assert found["forgotten_sampled/sums"] == pytest.approx((0.5 + 0.5) / 2)
    assert found["forgotten/sums"] == 0


def test_the_forgotten_are_listed_with_what_was_said(outcome: Callable[..., Outcome]) -> None:
    def rows(*scores: float | None, said: str) -> list[Outcome]:
        return [outcome(n, score, completion=f"{said} {n}") for n, score in enumerate(scores)]

    base = {"sums": rows(1, 0.5, 1, 0, None, said="was"), "words": rows(1, 1, said="was")}
    now = {"sums": rows(0.5, 0.5, 0, 1, 0, said="now"), "words": rows(0, 0, said="now"), "new": rows(0, said="now")}
    found = [
        (row["capability"], row["example"], row["before"], row["now"]) for row in forgotten_rows(base, now, most=5)
    ]
    assert found == [
        ("sums", "test/2", "was 2", "now 2"),
        ("words", "test/0", "was 0", "now 0"),
        ("sums", "test/0", "was 0", "now 0"),
        ("words", "test/1", "was 1", "now 1"),
    ]
    assert [row["example"] for row in forgotten_rows(base, now, most=1)] == ["test/2", "test/0"]
    assert forgotten_rows({}, now, most=1) == []
