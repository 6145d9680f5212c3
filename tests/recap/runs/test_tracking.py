"""Tracking never hurts training: databases that are locked, servers that are killed, processes that are killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from typer.testing import CliRunner

from recap.cli import app
from recap.experiment.config import LoadedConfig
from recap.experiment.run_settings import Tracking
from recap.learning.trainer import Trainer
from recap.runs.checkpoint import list_checkpoints
from recap.runs.run import Run
from recap.runs.tracking import Tracker
from tests.recap.runs.conftest import Server, free_port

Small = Callable[..., LoadedConfig]
LOCKS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""
DIES = """
import os, signal, sqlite3, sys
from pathlib import Path
from recap.experiment.run_settings import Tracking
from recap.runs.tracking import Tracker
from tests.recap.runs.conftest import Server, free_port

tracker = Tracker(Tracking(), "dies", Path(sys.argv[1]))
tracker.log(1, {"loss": 1.0})
print(tracker.run_id, flush=True)
sys.stdin.readline()  # the database is locked now
for step in range(2, 6):
    tracker.log(step, {"loss": 1.0 / step})
tracker.table(5, [{"step": 5, "completion": "yes"}])
tracker.flush()
tracker.log(6, {"loss": 0.0})  # after the checkpoint: the resumed run logs it again
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"EVERY_S": 0.2, "FIRST_RETRY_S": 0.1, "LAST_RETRY_S": 0.5, "STUCK_AFTER_S": 8.0}.items():
        monkeypatch.setattr(f"recap.runs.delivery.{name}", value)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "mlflow.db"


class Lock:
    """Another process that holds the database."""

    def __init__(self, database: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", LOCKS, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "locked\n"

    def release(self) -> None:
        self.process.communicate("", timeout=20)


def client() -> MlflowClient:
    return MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])


def history(run_id: str | None, metric: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client().get_metric_history(str(run_id), metric)]


def everything(run_id: str | None) -> dict[str, list[tuple[int, float]]]:
    """All that a clock does not change."""
    names = client().get_run(str(run_id)).data.metrics
    return {name: history(run_id, name) for name in names if "second" not in name}


def tables(run_id: str | None) -> list[str]:
    return sorted(item.path for item in client().list_artifacts(str(run_id), "rollouts"))


def status(run_id: str | None) -> str:
    return str(client().get_run(str(run_id)).info.status)


def start(config: LoadedConfig, directory: Path, resume: Path | None = None) -> Run:
    return Run(config.experiment, directory, operative_config=config.operative, command=config.command, resume=resume)


def before_step(run: Run, work: dict[int, Callable[[], None]]) -> None:
    """Does something before the steps with these numbers, 1 for the first."""
    step = run.trainer.step

    def work_then_step() -> Any:
        work.get(run.trainer.step_number + 1, lambda: None)()
        return step()

    run.trainer.step = work_then_step  # type: ignore[method-assign]


def gone(*args: Any, **named: Any) -> None:
    """In place of a client's method."""
    raise MlflowException("no route to host")


def sync(run: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["sync", str(run)])
    return result.exit_code, result.output.replace("\n", " ")


# --- failures in mid-run


def test_a_client_that_fails_ends_no_run_and_loses_nothing(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second call fails, half of them after it was done: a reply that was lost."""
    whole = start(small("tracking.rollouts_every = 1"), tmp_path / "whole")
    whole.execute()
    calls = 0
    for name in ("log_batch", "log_text", "set_tag", "set_terminated"):
        method = getattr(MlflowClient, name)

        def flaky(*args: Any, method: Any = method, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls % 4 == 1:
                raise MlflowException("no route to host")
            result = method(*args, **named)
            if calls % 4 == 3:
                raise MlflowException("connection reset by peer")
            return result

        if name != "log_text":  # the first file of a run is written before it starts, and then an error is one
            monkeypatch.setattr(MlflowClient, name, flaky)
    run = start(small("tracking.rollouts_every = 1", "checkpoints.every = 1"), tmp_path / "run")
    run.execute()
    assert calls > 8
    assert everything(run.tracker.run_id) == everything(whole.tracker.run_id)
    assert tables(run.tracker.run_id) == [f"rollouts/step-{step:06d}.json" for step in (1, 2, 3)]
    assert status(run.tracker.run_id) == "FINISHED"
    assert client().get_run(str(run.tracker.run_id)).data.params["reweighting"] == "Recap"


@pytest.mark.slow
def test_processes_that_make_a_database_together(tmp_path: Path) -> None:
    starts = (
        "from recap.runs.mlflow_store import start_run as s; from recap.experiment.run_settings import Tracking as T;"
    )
    code = f"{starts} print(s(T(uri='sqlite:///{tmp_path}/new.db'), 'x', {{}}))"
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({run.communicate(timeout=200)[0] for run in runs}) == 4
    assert [run.returncode for run in runs] == [0] * 4


def test_a_database_that_another_process_locks(small: Small, tmp_path: Path, database: Path) -> None:
    whole = start(small("train.steps = 4"), tmp_path / "whole")
    whole.execute()
    run = start(small("train.steps = 4", "checkpoints.every = 1"), tmp_path / "run")
    locks: list[Lock] = []
    before_step(run, {2: lambda: locks.append(Lock(database)), 4: lambda: locks[0].release()})
    run.execute()
    assert everything(run.tracker.run_id) == everything(whole.tracker.run_id)
    assert status(run.tracker.run_id) == "FINISHED"


@pytest.mark.slow
def test_a_database_that_stays_locked_is_made_up_for_by_sync(
    small: Small, tmp_path: Path, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = start(small(), tmp_path / "whole")
    whole.execute()
    run = start(small("checkpoints.every = 1"), tmp_path / "run")
    locks: list[Lock] = []
    before_step(run, {2: lambda: locks.append(Lock(database))})
    run.execute()
    assert (tmp_path / "run" / "model").is_dir()
    said = capsys.readouterr().out
    assert "MLflow has not taken the last" in said
    assert f"recap sync {tmp_path / 'run'}" in said
    code, output = sync(tmp_path / "run")
    assert code == 2
    assert "locked" in output
    locks[0].release()
    code, output = sync(tmp_path / "run")
    assert code == 0, output
    assert everything(run.tracker.run_id) == everything(whole.tracker.run_id)
    assert status(run.tracker.run_id) == "FINISHED"
    code, output = sync(tmp_path / "run" / "checkpoint-000003")
    assert code == 0
    assert "0 entries delivered" in output


@pytest.mark.parametrize(("error", "ends"), [(KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED")])
def test_the_status_is_true_where_mlflow_is_away_at_the_end(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], ends: str
) -> None:
    monkeypatch.setattr("recap.runs.delivery.STUCK_AFTER_S", 0.5)
    run = start(small(), tmp_path / "run")
    with monkeypatch.context() as away:

        def go_away_and_raise() -> None:
            for name in ("log_batch", "log_text", "set_tag", "set_terminated"):
                away.setattr(MlflowClient, name, gone)
            raise error

        before_step(run, {2: go_away_and_raise})
        with pytest.raises(error):
            run.execute()
    code, output = sync(tmp_path / "run")
    assert code == 0, output
    assert status(run.tracker.run_id) == ends


@pytest.mark.parametrize(("error", "ends"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
def test_a_model_that_does_not_load_ends_the_run(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], ends: str
) -> None:
    def broken(self: Trainer, experiment: object) -> None:
        raise error("no such model")

    monkeypatch.setattr(Trainer, "__init__", broken)
    with pytest.raises(error):
        start(small(), tmp_path / "run")
    [experiment] = [e for e in client().search_experiments() if e.name != "Default"]
    [run] = client().search_runs([experiment.experiment_id])
    assert run.info.status == ends


# --- killed processes


def test_what_a_killed_process_kept_is_delivered_by_the_resume(tmp_path: Path, database: Path) -> None:
    directory = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", DIES, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    lock = Lock(database)
    process.communicate("\n", timeout=60)
    lock.release()
    assert process.returncode == -signal.SIGKILL
    with (directory / "tracking" / "queue.jsonl").open("a") as queue:
        queue.write('{"step": 6, "val')  # killed while it wrote
    tracker = Tracker(Tracking(), "again", directory, run_id=run_id, step=3)
    for step in range(4, 8):  # from the checkpoint of step 3 on: 4 and 5 are in what was kept
        tracker.log(step, {"loss": 2.0 if step < 6 else 1.0 / step})
    assert tracker.finish("FINISHED") == []
    assert history(run_id, "loss") == [(1, 1.0), *((step, 1.0 / step) for step in range(2, 8))]
    assert tables(run_id) == ["rollouts/step-000005.json"]
    assert status(run_id) == "FINISHED"


def test_sync_closes_a_run_whose_process_was_killed(tmp_path: Path, database: Path) -> None:
    directory = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", DIES, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    process.communicate("\n", timeout=60)
    assert status(run_id) == "RUNNING"
    code, output = sync(directory)
    assert code == 0, output
    assert [step for step, _ in history(run_id, "loss")][:5] == [1, 2, 3, 4, 5]
    assert status(run_id) == "KILLED"


def test_sync_leaves_a_run_that_goes_on_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", DIES, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    monkeypatch.setattr("recap.runs.spill.LOCK_WAIT_S", 0.2)
    code, output = sync(tmp_path / "run")
    assert code == 2
    assert "another process is still at this run" in output
    assert status(run_id) == "RUNNING"
    process.communicate("\n", timeout=60)


def test_sync_of_what_is_no_run(tmp_path: Path) -> None:
    code, output = sync(tmp_path)
    assert code == 2
    assert "no run there" in output


# --- what cannot be delivered, or kept


def test_what_mlflow_refuses_stops_nothing_else(tmp_path: Path) -> None:
    tracker = Tracker(Tracking(), "test", tmp_path / "run")
    tracker.log(1, {"good": 1.0, "accuracy@1": 0.5, "other": 2.0})
    tracker.log(2, {"good": 3.0})
    [note] = tracker.finish("FINISHED")
    assert history(tracker.run_id, "good") == [(1, 1.0), (2, 3.0)]
    assert history(tracker.run_id, "other") == [(1, 2.0)]
    refused = tmp_path / "run" / "tracking" / "refused.jsonl"
    assert f"refused 1 entries of this run: see {refused}" in note
    assert json.loads(refused.read_text())["values"] == {"accuracy@1": 0.5}


def test_a_run_that_was_deleted_keeps_what_it_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recap.runs.delivery.STUCK_AFTER_S", 0.5)
    tracker = Tracker(Tracking(), "test", tmp_path / "run")
    client().delete_run(str(tracker.run_id))
    tracker.log(1, {"loss": 1.0})
    [note] = tracker.finish("FINISHED")
    assert "recap sync" in note
    code, output = sync(tmp_path / "run")
    assert code == 2
    assert "mlflow runs restore" in output
    client().restore_run(str(tracker.run_id))
    assert sync(tmp_path / "run")[0] == 0
    assert history(tracker.run_id, "loss") == [(1, 1.0)]
    assert status(tracker.run_id) == "FINISHED"


def test_a_full_disk_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker(Tracking(), "test", tmp_path / "run")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    tracker.log(1, {"loss": 1.0})
    tracker.flush()
    tracker.log(2, {"loss": 0.5})
    tracker.finish("FINISHED")
    assert history(tracker.run_id, "loss") == [(1, 1.0), (2, 0.5)]


def test_a_step_logged_anew_is_not_taken_for_the_one_that_is_there(tmp_path: Path) -> None:
    """As after a resume with other settings, where MLflow fails and is asked again."""
    from recap.runs.mlflow_run import MLflowRun

    tracker = Tracker(Tracking(), "test", tmp_path / "run")
    run = MLflowRun(os.environ["MLFLOW_TRACKING_URI"], str(tracker.run_id), tmp_path / "run")
    run.send([{"values": {"loss": 1.0}, "step": 5, "at": 1_000}], look=False)
    anew = [{"values": {"loss": 2.0}, "step": step, "at": 2_000} for step in (5, 6)]
    for _ in range(2):
        run.send(anew, look=True)
    assert history(tracker.run_id, "loss") == [(5, 1.0), (5, 2.0), (6, 2.0)]


def test_more_tables_than_a_tag_holds(tmp_path: Path) -> None:
    from recap.runs.mlflow_run import MLflowRun

    tracker = Tracker(Tracking(), "test", tmp_path / "run")
    tracker.finish("FINISHED")
    run = MLflowRun(os.environ["MLFLOW_TRACKING_URI"], str(tracker.run_id), tmp_path / "run")
    run.artifacts._tables = [f"rollouts/step-{step:06d}.json" for step in range(400)]
    run.send([{"file": "rollouts/step-000400.json", "text": '{"columns": [], "data": []}', "table": True}], look=False)
    tag = client().get_run(str(tracker.run_id)).data.tags["mlflow.loggedArtifacts"]
    assert len(tag) <= 8000
    assert json.loads(tag)[-1] == {"path": "rollouts/step-000400.json", "type": "table"}


# --- found before the model is loaded


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def loads(self: Trainer, experiment: object) -> None:
        raise AssertionError("the model was loaded first")

    monkeypatch.setattr(Trainer, "__init__", loads)


@pytest.mark.usefixtures("no_model")
class TestBeforeTheModel:
    def test_a_deleted_experiment(self, small: Small, tmp_path: Path) -> None:
        experiment_id = client().create_experiment("gone")
        client().delete_experiment(experiment_id)
        with pytest.raises(ValueError, match=f"tracking.experiment.* was deleted.*--experiment-id {experiment_id}"):
            start(small("tracking.experiment = 'gone'"), tmp_path / "run")

    def test_a_locked_database(
        self, small: Small, tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("recap.runs.mlflow_store.SQLITE_WAIT_S", 0.1)
        sqlite3.connect(database).close()
        lock = Lock(database)
        with pytest.raises(ValueError, match=r"tracking\.uri = .*mlflow\.db cannot be written .*another process"):
            start(small(), tmp_path / "run")
        lock.release()

    def test_a_folder_that_cannot_be_written(self, small: Small, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match=r"tracking\.uri = 'sqlite:///.*/file/mlflow.db' cannot|cannot be written"):
            start(small(f"tracking.uri = 'sqlite:///{tmp_path}/file/mlflow.db'"), tmp_path / "run")
        with pytest.raises(ValueError, match=r"the run's directory .*/file/run cannot be written"):
            start(small(), tmp_path / "file" / "run")
        client().create_experiment("elsewhere", artifact_location=(tmp_path / "file" / "artifacts").as_uri())
        with pytest.raises(ValueError, match=r"files cannot be written to .*/file/artifacts.*tracking\.experiment"):
            start(small("tracking.experiment = 'elsewhere'"), tmp_path / "run")

    def test_no_database(self, small: Small, tmp_path: Path, database: Path) -> None:
        database.write_text("this is a diary, and much longer than the header of a database would be" * 20)
        with pytest.raises(ValueError, match=r"mlflow\.db cannot be written \(file is not a database\)"):
            start(small(), tmp_path / "run")

    def test_a_server_that_is_not_there(self, small: Small, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"tracking\.uri = 'http://127.0.0.1:\d+': MLflow cannot be used"):
            start(small(f"tracking.uri = 'http://127.0.0.1:{free_port()}'"), tmp_path / "run")


# --- a real server


@pytest.mark.slow
def test_a_server_that_is_killed_and_restarted_in_mid_run(small: Small, tmp_path: Path, mlflow_server: Server) -> None:
    whole = start(small("train.steps = 8", "tracking.rollouts_every = 1"), tmp_path / "whole")
    whole.execute()
    run = start(
        small("train.steps = 8", "tracking.rollouts_every = 1", "checkpoints.every = 1"),
        tmp_path / "run",
    )
    before_step(run, {3: mlflow_server.kill, 5: mlflow_server.start, 6: mlflow_server.kill, 8: mlflow_server.start})
    run.execute()
    assert everything(run.tracker.run_id) == everything(whole.tracker.run_id)
    assert tables(run.tracker.run_id) == tables(whole.tracker.run_id)
    assert len(tables(run.tracker.run_id)) == 8
    assert status(run.tracker.run_id) == "FINISHED"


@pytest.mark.slow
def test_a_server_that_stays_away_until_the_run_is_over(small: Small, tmp_path: Path, mlflow_server: Server) -> None:
    run = start(small("checkpoints.every = 1", "tracking.rollouts_every = 1"), tmp_path / "run")
    before_step(run, {2: mlflow_server.kill})
    run.execute()
    assert len(list_checkpoints(tmp_path / "run")) == 2
    mlflow_server.start()
    code, output = sync(tmp_path / "run")
    assert code == 0, output
    assert [step for step, _ in history(run.tracker.run_id, "loss")] == [1, 2, 3]
    assert len(tables(run.tracker.run_id)) == 3
    assert status(run.tracker.run_id) == "FINISHED"
