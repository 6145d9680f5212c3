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

from recap.evaluation.outcomes import Outcome
from recap.experiment.config import LoadedConfig
from recap.experiment.describe import ending
from recap.learning.trainer import Trainer
from recap.runs.run import Run, TrainingStopped
from registry.reweighting.record import read_weights

Small = Callable[..., LoadedConfig]


def start(config: LoadedConfig, directory: Path, resume: Path | None = None) -> Run:
    return Run(
        config.experiment,
        directory,
        name="test",
        operative_config=config.operative,
        command=config.command,
        resume=resume,
    )


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
    losses, signals = (history(run.tracker.run_id, f"{kind}/next_token") for kind in ("loss", "signal"))
    for (_, loss), (_, told) in zip(losses, signals, strict=True):
        assert told == pytest.approx(4 * loss, rel=1e-5)  # carried by one of the step's four domains: docs/mlflow.md
    assert [s for s, _ in history(run.tracker.run_id, "convergence/accuracy")]
    assert [s for s, _ in history(run.tracker.run_id, "instability/accuracy")]
    assert [s for s, _ in history(run.tracker.run_id, "capability/grounding")] == [0, 3]
    assert len(history(run.tracker.run_id, "tokens_per_second")) == 3
    assert logged.data.params["reweighting"] == "Recap"
    artifacts = {item.path for item in client().list_artifacts(run.tracker.run_id)}
    assert artifacts >= {"operative_config.gin", "environment.json", "rollouts"}

    def read(name: str) -> str:
        return Path(client().download_artifacts(str(run.tracker.run_id), name, str(tmp_path))).read_text()

    assert "window = 1" in read("operative_config.gin")
    assert "torch" in json.loads(read("environment.json"))["packages"]
    for step in (1, 3):
        table = json.loads(read(f"rollouts/step-{step:06d}.json"))
        assert {"step", "prompt", "completion", "reference", "rewards"} <= set(table["columns"])
        assert {row[table["columns"].index("step")] for row in table["data"]} == {step}
    shown = client().load_table(logged.info.experiment_id, "rollouts/step-000003.json", [run.tracker.run_id])
    assert list(shown.columns) == table["columns"]
    assert len(shown) == len(table["data"])


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


def interrupt_after(run: Run, last: int) -> None:
    """Makes a run get a Ctrl-C during a step."""
    step = run.trainer.step

    def step_then_signal() -> Any:
        result = step()
        if run.trainer.step_number == last:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    run.trainer.step = step_then_signal  # type: ignore[method-assign]
    assert threading.current_thread() is threading.main_thread()


def stop_after(run: Run, last: int) -> None:
    """Executes a run that dies in step `last` + 1: what it has logged and saved by then stays."""
    step = run.trainer.step

    def step_or_die() -> Any:
        if run.trainer.step_number == last:
            raise Died
        return step()

    run.trainer.step = step_or_die  # type: ignore[method-assign]
    with pytest.raises(Died):
        run.execute()


class Died(Exception):
    pass


def metrics(run: Run) -> dict[str, list[tuple[int, float]]]:
    """Step and value of everything that the run logged, but for what a clock says."""
    logged = client().get_run(str(run.tracker.run_id)).data.metrics
    return {name: history(str(run.tracker.run_id), name) for name in logged if "second" not in name}


def test_a_signal_saves_a_checkpoint_and_closes_the_run_as_killed(small: Small, tmp_path: Path) -> None:
    run = start(small("train.steps = 500"), tmp_path / "run")
    interrupt_after(run, 2)
    with pytest.raises(KeyboardInterrupt):
        run.execute()
    assert run.tracker.run_id is not None
    assert client().get_run(run.tracker.run_id).info.status == "KILLED"
    assert (tmp_path / "run" / "checkpoint-000002" / "recap_state.json").is_file()


@pytest.mark.parametrize(
    "binding",
    [
        "train.reweighting = @reweighting.recap",
        "train.reweighting = @reweighting.rlw",
        "train.reweighting = @reweighting.famo",
        "train.gradient_method = 'nash_mtl'",
        "train.gradient_method = 'gradvac'",
        "grpo.kl_coefficient = 0.1",
        "train.mixture = @mixtures.alternate()",
    ],
    ids=lambda binding: binding.split()[-1].strip("@'()"),
)
def test_a_resumed_run_goes_on_bit_for_bit(small: Small, tmp_path: Path, binding: str) -> None:
    """Stopped after every second step, in new objects, against one that was not."""
    bindings = ("train.steps = 6", "reweighting.recap.window = 1", binding)
    whole = start(small(*bindings, "checkpoints.every = None"), tmp_path / "whole")
    whole.execute()
    run = start(small(*bindings, "checkpoints.every = 2"), tmp_path / "parts")
    for stop in (2, 4):
        stop_after(run, stop)
        run = start(small(*bindings, "checkpoints.every = 2"), tmp_path / "parts", resume=tmp_path / "parts")
    run.execute()
    assert metrics(run) == metrics(whole)
    assert read_weights(tmp_path / "parts") == read_weights(tmp_path / "whole")
    for ours, theirs in zip(
        whole.trainer.loaded.model.parameters(), run.trainer.loaded.model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_the_newest_and_the_best_checkpoint_are_kept(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: Callable[..., Outcome]
) -> None:
    scores = iter([0.9, 0.2, 0.7, 0.5, 0.7, 0.1])  # before the first step, then after each: the second is the best
    monkeypatch.setattr("recap.runs.evaluations.evaluate", lambda *_, **__: {"sight": [outcome(score=next(scores))]})
    capability = ("train.capabilities = [@grounding/Capability()]", "train.evaluate_every = 1")
    run = start(small("train.steps = 5", "checkpoints.every = 1", *capability), tmp_path / "run")
    run.execute()
    names = sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*"))
    assert names == ["checkpoint-000002", "checkpoint-000004", "checkpoint-000005", "checkpoint-best"]
    assert (tmp_path / "run" / "checkpoint-best").resolve().name == "checkpoint-000002"
    resumed = start(small("train.steps = 5", *capability), tmp_path, resume=tmp_path / "run" / "checkpoint-best")
    assert resumed.trainer.step_number == 2
    assert [scores["sight"].score for scores in resumed.scores.values()] == [0.9, 0.2, 0.7]


def test_an_evaluation_that_a_stop_prevented_is_made_up_for(small: Small, tmp_path: Path) -> None:
    capability = ("train.capabilities = [@arithmetic/Capability()]", "Capability.examples = 2")
    config = (*capability, "train.evaluate_every = 1", "train.steps = 2", "checkpoints.every = None")
    run = start(small(*config), tmp_path / "run")
    interrupt_after(run, 1)
    with pytest.raises(KeyboardInterrupt):
        run.execute()
    assert list(run.scores) == [0]
    resumed = start(small(*config), tmp_path, resume=tmp_path / "run")
    resumed.execute()
    assert list(resumed.scores) == [0, 1, 2]
    assert [step for step, _ in history(str(run.tracker.run_id), "capability/arithmetic")] == [0, 1, 2]


def test_a_run_that_goes_on_elsewhere_says_what_is_wrong(small: Small, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no run there .*run\.json"):
        start(small(), tmp_path, resume=tmp_path)
    run = start(small("train.steps = 1"), tmp_path / "run")
    run.execute()
    with pytest.raises(ValueError, match=rf"no run {run.tracker.run_id} to go on with"):
        start(small(f"tracking.uri = 'sqlite:///{tmp_path}/other.db'"), tmp_path, resume=tmp_path / "run")
    changed = start(small("train.steps = 2"), tmp_path, resume=tmp_path / "run")
    assert "changed: +train.steps = 2" in changed.notices


def test_the_one_table_of_older_versions_is_left_alone(small: Small, tmp_path: Path) -> None:
    run = start(small("train.steps = 2", "checkpoints.every = 1"), tmp_path / "run")
    stop_after(run, 1)
    torn = '{"columns": ["step"], "data": [[1'
    client().log_text(str(run.tracker.run_id), torn, "rollouts.json")
    start(small("train.steps = 2"), tmp_path, resume=tmp_path / "run").execute()
    [file] = tmp_path.rglob("rollouts.json")
    assert file.read_text() == torn
    assert [path.name for path in sorted(tmp_path.rglob("rollouts/*"))] == ["step-000001.json", "step-000002.json"]


def test_steps_that_are_never_finite_stop_the_run_with_a_checkpoint(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(small("train.steps = 50", "train.max_skipped_steps = 3"), tmp_path / "run")
    forward = run.trainer.models.scorer.forward

    def broken(*args: object, **kwargs: object) -> Any:
        scores = forward(*args, **kwargs)
        return scores._replace(log_probs=scores.log_probs * float("inf"))

    monkeypatch.setattr(run.trainer.models.scorer, "forward", broken)
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


def test_a_checkpoint_names_no_module_of_ours(small: Small, tmp_path: Path) -> None:
    """Files of the engine may move: what was written before they did must still be read."""
    config = small("train.steps = 1", "checkpoints.every = 1", "checkpoints.save_model = False")
    run = start(config, tmp_path / "run")
    run.execute()
    for file in (run.directory / "checkpoint-000001").iterdir():
        found = file.read_bytes()
        assert not any(name in found for name in (b"recap.", b"registry.")), file.name


def test_a_run_whose_source_ends_is_over_before_its_time(small: Small, tmp_path: Path) -> None:
    """Evaluated, logged and closed as one that took all of its steps."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": f"{i}+1=?", "answer": str(i + 1)}) + "\n" for i in range(8)))
    config = small(
        "train.domains = [@few/Domain(), @arithmetic/Domain()]",
        "few/Domain.source = @few/replay.jsonl()",
        f"few/replay.jsonl.path = '{rows}'",
        "few/Domain.objectives = {'next_token': @next_token_prediction()}",
        "few/Domain.at_end = 'end_run'",
        "train.mixture = @mixtures.uniform()",
        "train.capabilities = [@arithmetic/Capability()]",
        "Capability.examples = 4",
        "train.steps = 50",
    )
    run = start(config, tmp_path / "run")
    scores = run.execute()
    assert run.trainer.step_number == 2, "8 rows, 4 of them in a step"
    assert set(scores) == {0, 2}
    assert client().get_run(str(run.tracker.run_id)).info.status == "FINISHED"
    assert ending(config.experiment).startswith("over after 2 of 50 steps; at the end of their sources: few end_run")


def test_a_run_keeps_the_weights_of_every_step_and_another_replays_them(small: Small, tmp_path: Path) -> None:
    recorded = small("train.steps = 4", "reweighting.recap.window = 1", "reweighting.recap.temperature = 0.2")
    start(recorded, tmp_path / "recorded").execute()
    course = read_weights(tmp_path / "recorded")
    assert len(course) == 4
    assert course[0] == course[1] != course[3]
    yoked = small(
        "train.steps = 4",
        "train.seed = 1",
        "train.reweighting = @reweighting.replayed",
        f"reweighting.replayed.run = {str(tmp_path / 'recorded')!r}",
    )
    start(yoked, tmp_path / "yoked").execute()
    assert read_weights(tmp_path / "yoked") == course
