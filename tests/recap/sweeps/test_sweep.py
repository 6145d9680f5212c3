"""A sweep runs what is not finished, each run in a process of its own; what fails does not end the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from recap.cli import app
from recap.experiment.config import LoadedConfig
from recap.runs.checkpoint import latest_step
from recap.runs.run import Run
from recap.sweeps.grid import Point
from recap.sweeps.plan import Child, Plan, read_plan
from recap.sweeps.runner import Failure, Runner, last_words, surroundings
from recap.sweeps.sweep import run_sweep, table

QUICKSTART = Path(__file__).resolve().parents[3] / "experiments" / "quickstart.gin"
GRID = ["-g", "train.reweighting = @reweighting.recap, @reweighting.uniform"]


def plan(*bindings: str, seeds: Sequence[int] = (0, 1)) -> Plan:
    return Plan(str(QUICKSTART), bindings, (), (Point("recap", ()), Point("one", ("train.steps = 1",))), tuple(seeds))


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments])
    return result.exit_code, result.output


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would be started: a process that writes its arguments takes its place, and fails where they say so."""
    seen: list[list[str]] = []
    original = Runner.command

    def command(self: Runner, child: Child) -> list[str]:
        seen.append(original(self, child))
        fails = child.name == "one-seed-1"
        return [sys.executable, "-c", f"print('a line'); print('error: it broke'); raise SystemExit({int(fails)})"]

    monkeypatch.setattr(Runner, "command", command)
    return seen


def test_every_run_is_started_once_with_its_bindings(tmp_path: Path, commands: list[list[str]]) -> None:
    said: list[str] = []
    result = run_sweep(plan("train.prompts_per_step = 16"), tmp_path / "sweep", say=said.append, allow_unused=True)
    assert [failure.child.name for failure in result.failures] == ["one-seed-1"]
    assert result.failures[0].reason == "it broke (exit code 1)"
    assert [child.name for child in result.children] == ["recap-seed-0", "one-seed-0", "recap-seed-1", "one-seed-1"]
    assert any(line.startswith("one-seed-1: failed: it broke") for line in said)
    last = commands[-1]
    bound = [last[place + 1] for place, word in enumerate(last) if word == "-b"]
    parent = read_plan(tmp_path / "sweep").parent
    assert bound[:3] == ["train.prompts_per_step = 16", "train.steps = 1", "train.seed = 1"]
    assert f"'mlflow.parentRunId': '{parent}'" in bound[-1]
    assert last[last.index("--output") + 1] == str(tmp_path / "sweep" / "one" / "seed-1")
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    assert client.get_run(str(parent)).info.status == "FAILED"


def test_what_is_finished_is_left_and_what_was_begun_goes_on(
    tmp_path: Path, commands: list[list[str]], small: Callable[..., LoadedConfig]
) -> None:
    sweep = tmp_path / "sweep"
    config = small("train.steps = 1")
    run = Run(config.experiment, sweep / "one" / "seed-0", operative_config=config.operative, command=config.command)
    run.execute()
    (sweep / "recap" / "seed-0").mkdir(parents=True)
    record = json.loads((sweep / "one" / "seed-0" / "run.json").read_text())
    (sweep / "recap" / "seed-0" / "run.json").write_text(json.dumps({**record, "finished": False}))
    said: list[str] = []
    result = run_sweep(plan(seeds=[0]), sweep, say=said.append)
    assert [child.name for child in result.finished] == ["one-seed-0"]
    assert said[0] == "1 of 2 runs are finished"
    (command,) = commands
    assert command[-2:] == ["--resume", str(sweep / "recap" / "seed-0")]


def test_nothing_starts_where_a_point_is_wrong(tmp_path: Path, commands: list[list[str]]) -> None:
    code, output = invoke(
        "sweep", str(QUICKSTART), "-g", "train.reweighting = @reweighting.recap, @reweighting.unform", "--output",
        str(tmp_path / "sweep"),
    )  # fmt: skip
    assert code == 2
    assert "uniform" in output  # the near match
    assert not commands
    assert not (tmp_path / "sweep").exists()
    assert invoke("sweep")[0] == 2
    assert "no sweep there" in invoke("sweep", "--resume", str(tmp_path))[1]


def test_another_sweep_is_not_written_over(tmp_path: Path, commands: list[list[str]]) -> None:
    run_sweep(plan(), tmp_path / "sweep", say=lambda line: None)
    with pytest.raises(ValueError, match="another sweep is there"):
        run_sweep(plan("train.prompts_per_step = 8", seeds=[7]), tmp_path / "sweep")
    assert read_plan(tmp_path / "sweep").seeds == (0, 1)
    with_more = run_sweep(plan(seeds=[1, 7]), tmp_path / "sweep", say=lambda line: None, allow_unused=True)
    assert len(with_more.children) == 4
    assert len(run_sweep(None, tmp_path / "sweep", say=lambda line: None).children) == 6  # it has seeds 0, 1 and 7 now


def test_the_seed_is_that_of_the_experiment_unless_seeds_are_given(tmp_path: Path, commands: list[list[str]]) -> None:
    bound = ["-b", "train.seed = 42", "-g", "train.steps = 1, 2"]
    code, output = invoke("sweep", str(QUICKSTART), *bound, "--output", str(tmp_path / "sweep"))
    assert code == 0, output
    assert read_plan(tmp_path / "sweep").seeds == (42,)
    assert all("train.seed = 42" in command for command in commands)
    assert len(commands) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["-g", "train.seed = 1, 2"],
        ["-b", "train.seed = 1", "--seeds", "0-1"],
        ["-g", "tracking.run_name = 'a', 'b'"],
    ],
)
def test_what_the_sweep_itself_binds_is_no_ones_else(
    tmp_path: Path, commands: list[list[str]], arguments: list[str]
) -> None:
    code, output = invoke("sweep", str(QUICKSTART), *arguments, "--output", str(tmp_path / "sweep"))
    assert code == 2
    assert "train.seed" in output or "tracking.run_name" in output
    assert not commands


def test_sigterm_stops_the_runs_as_ctrl_c_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)  # as what a script starts in the background\n"
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[2]).touch(), sys.exit()))\n"
        "pathlib.Path(sys.argv[1]).touch(); time.sleep(60)\n"
    )
    begun, stopped = tmp_path / "begun", tmp_path / "stopped"
    monkeypatch.setattr(Runner, "command", lambda self, child: [sys.executable, "-c", waits, str(begun), str(stopped)])
    before = signal.getsignal(signal.SIGTERM)

    def ask() -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until and not begun.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(KeyboardInterrupt):
        Runner(plan(), {}, say=lambda line: None).run(plan(seeds=[0]).children(tmp_path / "sweep"))
    asking.join()
    assert stopped.exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_place_has_its_share_of_the_machine() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = {"CUDA_VISIBLE_DEVICES": "4,5,6"}
    assert surroundings(0, 1, {}) == {"OMP_NUM_THREADS": str(cores)}
    assert surroundings(0, 64, {}) == {"OMP_NUM_THREADS": "1"}
    assert surroundings(1, 2, {"OMP_NUM_THREADS": "3", **gpus}) == {"CUDA_VISIBLE_DEVICES": "5"}
    assert surroundings(4, 5, {"OMP_NUM_THREADS": "3", **gpus}) == {"CUDA_VISIBLE_DEVICES": "5"}


def test_the_last_words_of_a_log() -> None:
    assert last_words("a\nerror: b\nc\n", 2) == "b (exit code 2)"
    assert last_words("a\n\nb\n", 1) == "b (exit code 1)"
    assert last_words("", -9) == "it printed nothing (exit code -9)"
    assert Failure(Child(Point("a", ()), 1, Path("x/seed-1")), "why").child.log == Path("x/seed-1.log")


def test_no_table_where_nothing_was_measured(tmp_path: Path) -> None:
    found, notes = table([Child(Point("a", ()), 0, tmp_path)])
    assert found is None
    assert "has not evaluated any capability" in notes[0]


@pytest.mark.slow
def test_a_sweep_that_is_stopped_goes_on_to_its_table(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    small = (
        "backends.tiny_qwen2_5_vl.weights = 'random'", "train.prompts_per_step = 8", "train.steps = 400",
        "train.capabilities = [@arithmetic/Capability()]", "Capability.examples = 4", "train.evaluate_every = None",
        "rollout.group_size = 2", "rollout.max_new_tokens = 8", "checkpoints.save_model = False", "rewards.workers = 1",
    )  # fmt: skip
    arguments = [word for binding in small for word in ("-b", binding)]
    command = [sys.executable, "-m", "recap", "sweep", str(QUICKSTART), *GRID, "--seeds", "0-1", "--jobs", "2"]
    command += ["--allow-unused", "--output", str(sweep), *arguments]
    process = subprocess.Popen(command)
    until = time.monotonic() + 120
    measured = [sweep / policy / "seed-0" / "outcomes" for policy in ("recap", "uniform")]
    while time.monotonic() < until and not all(folder.is_dir() for folder in measured):
        time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    there = read_plan(sweep)
    begun = [child.name for child in there.children(sweep) if child.begun]
    assert set(begun) == {"recap-seed-0", "uniform-seed-0"}
    # However far they came, all runs shall end at one step, soon: those that go on as well as those that begin.
    last = max(latest_step(child.directory) for child in there.children(sweep) if child.begun) + 1
    for file in (sweep / "sweep.json", *(sweep / child.split("-")[0] / "seed-0" / "run.json" for child in begun)):
        file.write_text(file.read_text().replace("train.steps = 400", f"train.steps = {last}"))
    done = subprocess.run(
        [sys.executable, "-m", "recap", "sweep", "--resume", str(sweep), "--jobs", "2", "--allow-unused"],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recap-seed-0: goes on" in done.stdout
    assert "arithmetic" in done.stdout
    assert "recap compare" in done.stdout
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    (experiment,) = [found.experiment_id for found in client.search_experiments() if found.name != "Default"]
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{there.parent}'")
    assert {run.info.run_name for run in children} == {f"{p}-seed-{s}" for p in ("recap", "uniform") for s in (0, 1)}
    assert client.get_run(str(there.parent)).info.status == "FINISHED"
