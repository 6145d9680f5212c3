"""Two processes of one run, of which one breaks, or is asked to stop."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from mlflow import MlflowClient

from recap.runs.checkpoint import list_checkpoints, read_state
from recap.runs.run_directory import read_record
from tests.processes import torchrun

PLUGIN = """
import os, signal

import recap.learning.intake as intake
import recap.learning.trainer as trainer
import recap.runs.outcomes as outcomes
from accelerate import Accelerator

place, rank = os.environ["PLACE"], os.environ["RANK"]
calls = []


def broken(original, happens):
    def call(*given, **named):
        calls.append(original)
        if len(calls) == 2 and rank == ("0" if place == "record" else "1"):
            happens()
        return original(*given, **named)

    return call


def breaks():
    raise RuntimeError("out of luck")


def asks_to_stop():
    os.kill(os.getpid(), signal.SIGTERM)


if place == "draw":
    intake.draw = broken(intake.draw, breaks)
elif place == "stop":
    trainer.roll_out = broken(trainer.roll_out, asks_to_stop)
elif place == "update":
    trainer.Trainer.passes = broken(trainer.Trainer.passes, breaks)
elif place == "record":  # which the main process alone writes
    outcomes.write_outcomes = broken(outcomes.write_outcomes, breaks)
"""
BINDINGS = (
    "train.steps = 3",
    "checkpoints.every = None",
    "checkpoints.save_model = False",
    "reweighting.recap.window = 1",
)


def train(arguments: list[str], place: str = "", processes: int = 2) -> tuple[int, str]:
    """A run on several processes; its exit code and output."""
    done = torchrun("-m", "recap", "train", *arguments, processes=processes, PLACE=place)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def arguments(small_bindings: list[str], tmp_path: Path) -> list[str]:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    bindings = [part for binding in (*small_bindings, *BINDINGS) for part in ("-b", binding)]
    plugin = ["--plugin", str(tmp_path / "plugin.py")]
    return ["experiments/quickstart.gin", "--allow-unused", "--output", str(tmp_path / "run"), *plugin, *bindings]


def losses_and_status(run: Path) -> tuple[dict[int, float], str]:
    run_id = str(read_record(run).mlflow_run_id)
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    history = client.get_metric_history(run_id, "loss")
    assert len(history) == len({metric.step for metric in history})
    return {metric.step: metric.value for metric in history}, client.get_run(run_id).info.status


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("place", "status"),
    [
        ("draw", "FAILED"),
        pytest.param("stop", "KILLED", marks=pytest.mark.slow),
        pytest.param("update", "FAILED", marks=pytest.mark.slow),
    ],
)
def test_what_happens_to_one_process_ends_both_with_a_checkpoint(
    arguments: list[str], tmp_path: Path, place: str, status: str
) -> None:
    """In step 2, on the second process; the resumed run takes the step again and comes to its end."""
    run = tmp_path / "run"
    code, output = train(arguments, place)
    assert code != 0
    assert [path.name for path in list_checkpoints(run)] == ["checkpoint-000001"], output[-3000:]
    assert ("out of luck" in output) == (place != "stop")
    losses, found = losses_and_status(run)
    assert (list(losses), found) == ([1], status)
    word = "interrupted" if place == "stop" else "the step failed"
    assert re.search(rf"{word}: saved \S*/run/checkpoint-000001, the state before it", output.replace("\n", ""))
    code, output = train(["--resume", str(run)])
    assert code == 0, output[-3000:]
    losses, found = losses_and_status(run)
    assert (list(losses), found) == ([1, 2, 3], "FINISHED")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_evaluation_whose_record_fails_ends_both_with_a_checkpoint(arguments: list[str], tmp_path: Path) -> None:
    """That after step 1, which the resumed run makes again."""
    run = tmp_path / "run"
    measured = (
        "train.capabilities = [@arithmetic/Capability()]",
        "Capability.examples = 2",
        "train.evaluate_every = 1",
    )
    code, output = train([*arguments, *(part for binding in measured for part in ("-b", binding))], "record")
    assert code != 0
    assert "out of luck" in output
    assert [path.name for path in list_checkpoints(run)] == ["checkpoint-000001"], output[-3000:]
    states = sorted(path.name for path in (run / "checkpoint-000001").glob("random_states_*"))
    assert states == ["random_states_0.pkl", "random_states_1.pkl"], "both were there to write it"
    code, output = train(["--resume", str(run)])
    assert code == 0, output[-3000:]
    client, run_id = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"]), str(read_record(run).mlflow_run_id)
    assert [m.step for m in client.get_metric_history(run_id, "capability/arithmetic")] == [0, 1, 2, 3]
    assert (run / "outcomes" / "step-000001.parquet").is_file()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_run_goes_on_on_another_number_of_processes(
    small_bindings: list[str], tmp_path: Path, before: int, after: int
) -> None:
    """As on one that was left alone: positions, what was skipped, λ, and the loss of the step that comes next."""
    rows = [{"question": f"{n}+1=?", "answer": str(n + 1)} for n in range(11)]
    rows[2] = rows[9] = {"question": None, "answer": "3"}
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    more = (
        "train.domains = [@first/Domain(), @second/Domain()]",
        "first/Domain.source = @replay.jsonl()",
        f"replay.jsonl.path = '{tmp_path}/rows.jsonl'",
        "replay.jsonl.shuffle = False",
        "first/Domain.objectives = {'tags': @verifiers.answer_format(), 'imitated': @next_token_prediction()}",
        "second/Domain.source = @replay.arithmetic()",
        "second/Domain.objectives = {'exact': @verifiers.exact_match()}",
        "train.mixture = @mixtures.uniform()",
        "reweighting.recap.window = 1",
        "reweighting.recap.temperature = 0.2",
        "adamw.schedule = 'constant'",
        "checkpoints.save_model = False",
    )
    bindings = [part for binding in (*small_bindings, *more) for part in ("-b", binding)]
    found = []
    for name, launches in {"whole": [(1, 4)], "moved": [(before, 2), (after, 4)]}.items():
        given = ["experiments/quickstart.gin", "--allow-unused", "--output", str(tmp_path / name), *bindings]
        for processes, steps in launches:
            code, output = train([*given, "-b", f"train.steps = {steps}"], processes=processes)
            assert code == 0, output[-3000:]
            given = ["--resume", str(tmp_path / name)]
        state = read_state(tmp_path / name / "checkpoint-000004")
        run_id = str(read_record(tmp_path / name).mlflow_run_id)
        client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
        weights = [metric.value for metric in client.get_metric_history(run_id, "weight/imitated")]
        found.append((losses_and_status(tmp_path / name)[0], weights, state["sources"]))
    (whole_losses, whole_weights, whole_sources), (losses, weights, sources) = found
    assert sources == whole_sources
    assert sum(whole_sources["first"]["malformed"]["counts"].values()) == 3  # in steps 1 and 3, and again in step 4
    assert losses == pytest.approx(whole_losses, rel=1e-3)
    assert weights == pytest.approx(whole_weights, rel=1e-2)
    assert len(weights) == 4
    assert weights[-1] != weights[0] == 1, "λ has moved"
