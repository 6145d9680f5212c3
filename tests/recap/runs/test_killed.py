"""Real processes, killed with SIGKILL at random moments and resumed, against one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[3]
BINDINGS = (
    "train.steps = 10",
    "checkpoints.every = 2",
    "checkpoints.save_model = False",
    "tracking.rollouts_every = 2",
    "reweighting.recap.window = 1",
    "reweighting.recap.temperature = 0.2",
    "train.capabilities = [@arithmetic/Capability()]",
    "Capability.examples = 4",
    "train.evaluate_every = 3",
)
DIES_WHILE_SAVING = """
import os, signal
from accelerate import Accelerator

save_state, saves = Accelerator.save_state, []


def half(self, directory, **settings):
    saves.append(directory)
    save_state(self, directory, **settings)
    if len(saves) == 2:
        os.unlink(os.path.join(directory, "optimizer.bin"))
        os.kill(os.getpid(), signal.SIGKILL)


Accelerator.save_state = half
"""


def start(arguments: list[str]) -> tuple[subprocess.Popen[str], float]:
    """A training process and when it began to train: killed earlier it would only have been loading."""
    process = subprocess.Popen(
        [sys.executable, "-m", "recap", "train", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if "; MLflow " in line or "is finished" in line:
            return process, time.monotonic()
    raise AssertionError(seen)


def finish(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    output = process.stdout.read()  # not communicate: it would miss what `start` has read ahead
    process.wait(timeout=200)
    return output


def deliver(run: Path) -> None:
    """What a busy machine did not let the run bring to MLflow in time: nothing of it may be lost."""
    command = [sys.executable, "-m", "recap", "sync", str(run)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def logged() -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Of every run: steps and values of every metric but those of the clock."""
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    return {
        run.info.run_id: {
            name: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
            if "second" not in name
        }
        for run in runs
    }


@pytest.fixture
def arguments(small_bindings: list[str]) -> list[str]:
    bindings = [*small_bindings, *BINDINGS]
    return ["experiments/quickstart.gin", *(part for binding in bindings for part in ("-b", binding))]


@pytest.mark.parametrize(
    ("seed", "kills"), [(0, 1), *(pytest.param(seed, 8, marks=pytest.mark.slow) for seed in range(1, 4))]
)
def test_killed_at_random_and_resumed(arguments: list[str], tmp_path: Path, seed: int, kills: int) -> None:
    process, started = start([*arguments, "--output", str(tmp_path / "whole")])
    finish(process)
    seconds = time.monotonic() - started
    deliver(tmp_path / "whole")
    [(whole, expected)] = logged().items()
    assert [step for step, _ in expected["loss"]] == list(range(1, 11))
    assert [step for step, _ in expected["capability/arithmetic"]] == [0, 3, 6, 9, 10]

    clock = random.Random(seed)
    process, _ = start([*arguments, "--output", str(tmp_path / "killed")])
    for _ in range(kills):
        time.sleep(clock.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)  # if it is not over already
        process.wait()
        process, _ = start(["--resume", str(tmp_path / "killed")])
    finish(process)
    assert process.returncode == 0
    deliver(tmp_path / "killed")
    runs = logged()
    [killed] = runs.keys() - {whole}
    assert runs[killed] == expected


@pytest.mark.slow
def test_killed_while_a_checkpoint_is_written(arguments: list[str], tmp_path: Path) -> None:
    plugin = tmp_path / "dies.py"
    plugin.write_text(DIES_WHILE_SAVING)
    run = tmp_path / "run"
    process, _ = start([*arguments, "--output", str(run), "--plugin", str(plugin)])
    finish(process)
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in run.glob("checkpoint-0*")] == ["checkpoint-000002"]
    assert [path.name for path in run.glob(".partial-*")]
    process, _ = start([arguments[0], *arguments[1:], "--resume", str(run)])
    output = finish(process)
    assert process.returncode == 0, output
    assert "going on from" in output
    assert not [path.name for path in run.glob(".partial-*")]
    [metrics] = logged().values()
    assert [step for step, _ in metrics["loss"]] == list(range(1, 11))


def test_a_run_directory_is_not_used_twice(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "recap", "train", *arguments, "--output", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2
    assert "a run is there already" in done.stderr
    assert f"recap train --resume {tmp_path}" in done.stderr.replace("\n", "")
