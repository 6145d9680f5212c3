"""A step that breaks: a checkpoint of the state before it, its leaving out, and signals that do not wait for its end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from typer.testing import CliRunner

import recap.learning.intake
import recap.learning.trainer
from recap.cli import app
from recap.experiment.config import LoadedConfig
from recap.learning.prefetch import Prefetch
from recap.learning.trainer import Trainer
from recap.parallel.local_work import Interrupted, StopRequest
from recap.runs.checkpoint import CheckpointError, list_checkpoints, read_state
from recap.runs.run import Run
from recap.runs.run_directory import last_step_begun, read_record
from recap.runs.skip import pass_over
from registry.reweighting.base import ReweightingPolicy

Small = Callable[..., LoadedConfig]
QUICK = ("checkpoints.save_model = False", "checkpoints.every = None", "reweighting.recap.window = 1")
QUICKSTART = str(Path(__file__).resolve().parents[3] / "experiments" / "quickstart.gin")
POISON = '''
from registry import replay_sources
from registry.replay.arithmetic import Arithmetic


@replay_sources.register("poison")
class Poison(Arithmetic):
    """Arithmetic, but for one example that ends whatever draws it."""

    def example(self, position):
        if position == 17:
            raise RuntimeError("poisonous example")
        return super().example(position)
'''


class Broken(RuntimeError):
    pass


def start(config: LoadedConfig, directory: Path, resume: Path | None = None, **options: Any) -> Run:
    given = {"operative_config": config.operative, "command": config.command, "resume": resume, **options}
    return Run(config.experiment, directory, name="test", **given)


def client() -> MlflowClient:
    return MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])


def metrics(run_id: str | None) -> dict[str, list[tuple[int, float]]]:
    """Step and value of everything that a run logged, but for what a clock says."""
    names = client().get_run(str(run_id)).data.metrics
    return {
        name: [(m.step, m.value) for m in client().get_metric_history(str(run_id), name)]
        for name in names
        if "second" not in name
    }


def status(run: Run) -> str:
    return str(client().get_run(str(run.tracker.run_id)).info.status)


def once(run: Run, owner: Any, name: str, step: int, happens: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """Something happens within a call of `owner.name` in step `step`, after the call did its work."""
    original = getattr(owner, name)
    left = [None]

    def with_it(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if run.trainer.step_number + 1 == step and left:
            left.pop()
            happens()
        return result

    patch.setattr(owner, name, with_it)


def breaks() -> None:
    raise Broken("out of luck")


def asks_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


PLACES: dict[str, tuple[Callable[[Run], Any], str]] = {
    "draw": (lambda _: Prefetch, "__call__"),
    "rollout": (lambda _: recap.learning.trainer, "roll_out"),
    "verification": (lambda _: recap.learning.trainer, "supervised_batch"),
    "backward": (lambda run: run.accelerator, "backward"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_step_that_breaks_leaves_a_checkpoint_of_the_state_before_it(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The run that is left alone reads nothing ahead, either."""
    bindings = ("train.steps = 3", *QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(Prefetch, "begin", lambda self, step: None)
        whole = start(small(*bindings), tmp_path / "whole")
        whole.execute()
    run = start(small(*bindings), tmp_path / "run")
    with monkeypatch.context() as patch:
        find, name = PLACES[place]
        once(run, find(run), name, 2, breaks, patch)
        with pytest.raises(Broken):
            run.execute()
    assert status(run) == "FAILED"
    assert last_step_begun(run.directory) == 2
    [checkpoint] = list_checkpoints(run.directory)
    assert checkpoint.name == "checkpoint-000001"
    again = start(small(*bindings), tmp_path, resume=run.directory)
    again.execute()
    assert metrics(again.tracker.run_id) == metrics(whole.tracker.run_id)
    assert status(again) == "FINISHED"
    for ours, theirs in zip(
        again.trainer.loaded.model.parameters(), whole.trainer.loaded.model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["draw", "rollout", "verification", "evaluation"])
def test_a_signal_is_heard_inside_a_step(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The step is left at once, and taken again by the resumed run as if nothing had been."""
    evaluated = (
        "train.capabilities = [@arithmetic/Capability()]",
        "Capability.examples = 2",
        "train.evaluate_every = 1",
    )
    bindings = ("train.steps = 2", *QUICK, *evaluated)
    whole = start(small(*bindings), tmp_path / "whole")
    whole.execute()
    run = start(small(*bindings), tmp_path / "run")
    gone_on = []
    with monkeypatch.context() as patch:
        if place == "evaluation":
            once(run, recap.evaluation.evaluate, "roll_out", 2, asks_to_stop, patch)
        else:
            find, name = PLACES[place]
            once(run, find(run), name, 2, asks_to_stop, patch)
        patch.setattr(run.accelerator, "backward", noted(run, run.accelerator.backward, gone_on))
        with pytest.raises(KeyboardInterrupt):
            run.execute()
    assert set(gone_on) == {0}, "step 2 was not finished first"
    assert status(run) == "KILLED"
    assert [path.name for path in list_checkpoints(run.directory)] == ["checkpoint-000001"]
    again = start(small(*bindings), tmp_path, resume=run.directory)
    again.execute()
    found, expected = (metrics(one.tracker.run_id) for one in (again, whole))
    drift = {name for name in expected if name.startswith("drift")}
    assert drift <= found.keys()
    for name in drift:  # before its first update a run scores prompt by prompt, the same but for rounding
        assert [value for _, value in found.pop(name)] == pytest.approx(
            [value for _, value in expected.pop(name)], rel=1e-4
        )
    assert found == expected


def test_a_signal_in_a_backward_lets_its_step_be_finished(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(small("train.steps = 3", *QUICK), tmp_path / "run")
    once(run, run.accelerator, "backward", 2, asks_to_stop, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run.execute()
    assert status(run) == "KILLED"
    assert [path.name for path in list_checkpoints(run.directory)] == ["checkpoint-000002"]
    assert read_state(run.directory / "checkpoint-000002")["sources"]["counting"]["position"] == 8


def noted(run: Run, original: Callable[..., Any], steps: list[int]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        steps.append(run.trainer.step_number)
        return original(*args, **kwargs)

    return call


def test_a_signal_while_the_model_is_loaded_closes_the_run(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small("train.steps = 1", *QUICK)
    monkeypatch.setattr(type(config.experiment), "load_model", lambda _: asks_to_stop())
    with pytest.raises(KeyboardInterrupt):
        start(config, tmp_path / "run")
    [run] = client().search_runs([experiment.experiment_id for experiment in client().search_experiments()])
    assert run.info.status == "KILLED"


def test_a_second_signal_does_not_wait() -> None:
    stop = StopRequest()
    stop()
    assert stop.requested
    with pytest.raises(KeyboardInterrupt) as caught:
        stop()
    assert not isinstance(caught.value, Interrupted)


def test_a_step_whose_update_had_begun_leaves_the_earlier_checkpoint(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bindings = ("train.steps = 3", "checkpoints.every = 1", "checkpoints.save_model = False")
    run = start(small(*bindings), tmp_path / "run")
    once(run, run.trainer, "reweight", 3, breaks, monkeypatch)
    with pytest.raises(Broken):
        run.execute()
    assert list_checkpoints(run.directory)[-1].name == "checkpoint-000002"
    said = capsys.readouterr().out.replace("\n", "")
    assert f"the update of the model had begun; the newest checkpoint is {run.directory}/checkpoint-000002" in said


def test_the_step_that_kills_is_left_out(tmp_path: Path, small_bindings: list[str]) -> None:
    """Position 17, which nobody looks at before, is drawn in step 3, at every resume again, unless it is passed over."""
    (tmp_path / "poison.py").write_text(POISON)
    more = (
        "train.steps = 4",
        "train.prompts_per_step = 8",
        "train.mixture = @mixtures.uniform()",
        "train.domains = [@arithmetic/Domain()]",
        "arithmetic/Domain.source = @replay.poison()",
        *QUICK,
    )
    bindings = [part for binding in (*small_bindings, *more) for part in ("-b", binding)]
    run = str(tmp_path / "run")
    given = ["train", QUICKSTART, "--allow-unused", "--plugin", str(tmp_path / "poison.py"), "--output", run, *bindings]
    for arguments in (given, ["train", "--resume", run]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 1
        assert "poisonous example" in str(result.exception)
        assert [path.name for path in list_checkpoints(tmp_path / "run")] == ["checkpoint-000002"]
    result = CliRunner().invoke(app, ["train", "--resume", run, "--skip-step"])
    assert result.exit_code == 0, result.output
    assert "step 3: passed over" in result.output
    record = read_record(tmp_path / "run")
    assert (record.passed_over, record.finished) == ((3,), True)
    found = metrics(record.mlflow_run_id)
    assert [step for step, _ in found["loss"]] == [1, 2, 4]
    assert found["skipped"] == [(1, 0.0), (2, 0.0), (3, 1.0), (4, 0.0)]
    state = read_state(tmp_path / "run" / "checkpoint-000004")
    assert state["sources"]["arithmetic"]["position"] == 32, "step 4 drew what it would have drawn"


def test_a_step_that_was_killed_without_a_word_is_known(small: Small, tmp_path: Path) -> None:
    """As by the kernel for want of memory, some steps after the last checkpoint."""
    bindings = ("train.steps = 5", *QUICK)
    run = start(small("train.steps = 2", *QUICK), tmp_path / "run")
    run.execute()
    (run.directory / "step").write_text("4")
    again = start(small(*bindings), tmp_path, resume=run.directory, skip_step=True)
    again.execute()
    assert read_record(run.directory).passed_over == (4,)
    assert [step for step, _ in metrics(again.tracker.run_id)["loss"]] == [1, 2, 3, 5]


@pytest.mark.parametrize("at_end", ["repeat", "drop_out", "end_run"])
def test_steps_that_are_passed_over_move_the_sources_on_as_taken_ones(
    small: Small, tmp_path: Path, at_end: str
) -> None:
    """Near the end of a source the mixture is left with less of it, and with more of the others."""
    (tmp_path / "rows.jsonl").write_text('{"question": "1+1=?", "answer": "2"}\n' * 9)
    bindings = (
        "train.domains = [@first/Domain(), @second/Domain()]",
        f"first/Domain.at_end = '{at_end}'",
        "first/Domain.source = @replay.jsonl()",
        f"replay.jsonl.path = '{tmp_path}/rows.jsonl'",
        "second/Domain.source = @replay.arithmetic()",
        "Domain.objectives = {'exact': @verifiers.exact_match()}",
        "train.mixture = @mixtures.uniform()",
        "train.steps = 5",
    )
    found = []
    for passed_over in (False, True):
        trainer = Trainer(small(*bindings).experiment)
        positions = []
        while not trainer.experiment.over(trainer.step_number):
            if passed_over:
                pass_over(trainer)
            else:
                trainer.draw()
                trainer.step_number += 1
            positions.append([domain.source.position for domain in trainer.domains])
        found.append(positions)
    assert found[0] == found[1]
    assert len(found[0]) == (3 if at_end == "end_run" else 5)
    assert found[0][2] == ([12, 12] if at_end == "repeat" else [9, 15])


def test_the_step_that_is_read_ahead_is_the_one_to_leave_out(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should a picture kill the process, it is that of the next step; once that is read, it is the training of this one."""
    run = start(small("train.steps = 2", *QUICK), tmp_path / "run")
    noted: dict[str, int] = {}
    draw, settle = recap.learning.intake.draw, Prefetch.settle

    def drawing(*given: Any, **named: Any) -> Any:
        noted[f"drawing {named['step'] + 1}"] = last_step_begun(run.directory)
        return draw(*given, **named)

    def settling(self: Prefetch) -> None:
        settle(self)
        noted[f"step {run.trainer.step_number + 1}"] = last_step_begun(run.directory)

    monkeypatch.setattr(recap.learning.intake, "draw", drawing)
    monkeypatch.setattr(Prefetch, "settle", settling)
    run.execute()
    assert noted == {"drawing 1": 1, "drawing 2": 2, "step 1": 1, "step 2": 2}


# --- a checkpoint that cannot be written


def test_a_checkpoint_that_cannot_be_written_is_said_and_the_run_goes_on(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(small("train.steps = 3", "checkpoints.every = 1", "checkpoints.save_model = False"), tmp_path / "run")
    save = run.accelerator.save_state

    def full(directory: str) -> None:
        if run.trainer.step_number >= 2:
            (Path(directory) / "half").parent.mkdir()
            (Path(directory) / "half").write_text("half")
            raise OSError(28, "No space left on device")
        save(directory)

    monkeypatch.setattr(run.accelerator, "save_state", full)
    run.execute()
    assert [path.name for path in run.directory.iterdir() if "checkpoint" in path.name] == ["checkpoint-000001"]
    assert not [path for path in run.directory.iterdir() if path.name.startswith(".")]
    said = capsys.readouterr().out.replace("\n", "")
    assert "checkpoint-000002 cannot be written (OSError: [Errno 28] No space left on device)" in said
    assert "its newest checkpoint is" in said
    assert client().get_run(str(run.tracker.run_id)).data.tags["recap.checkpoint_failed_at_step"] == "3"
    with pytest.raises(CheckpointError):
        run.save_checkpoint()


# --- states that nobody saves


class Underdog(ReweightingPolicy):
    """Weights by the last signals, and forgets them."""

    saves = False

    def __init__(self, objectives: Any) -> None:
        super().__init__(objectives)
        self.last = dict.fromkeys(self.objectives, 0.0)

    def update(self, signals: Any) -> None:
        self.last.update(signals)

    @property
    def weights(self) -> dict[str, float]:
        raw = {name: max(0.1, 2 - value) for name, value in self.last.items()}
        return {name: value * len(raw) / sum(raw.values()) for name, value in raw.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"last": self.last} if self.saves else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.last.update(state.get("last", {}))


@pytest.mark.parametrize("saves", [False, True])
def test_a_policy_that_does_not_save_its_state_is_found_out(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], saves: bool
) -> None:
    monkeypatch.setattr(Underdog, "saves", saves)
    config = small("train.steps = 1", *QUICK)
    monkeypatch.setattr(type(config.experiment), "build_reweighting", lambda self: Underdog(kinds(self)))
    run = start(config, tmp_path / "run")
    run.execute()
    wanted = "the reweighting policy Underdog keeps a state that it does not save"
    said = capsys.readouterr().out.replace("\n", " ")
    assert (wanted in said and "implement state_dict and load_state_dict" in said) is not saves
    tags = client().get_run(str(run.tracker.run_id)).data.tags
    assert (wanted in tags.get("recap.unsaved_state", "")) is not saves
    again = start(config, tmp_path, resume=run.directory)
    assert any(wanted in line for line in again.notices) is not saves


def kinds(experiment: Any) -> dict[str, str]:
    return {objective.name: "loss" if objective.supervised else "reward" for objective in experiment.objectives}


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_source_that_does_not_save_its_state_is_found_out(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrapped: bool
) -> None:
    """Also where it stands in one of ours."""
    from registry.replay.arithmetic import Arithmetic
    from registry.replay.concatenate import Concatenate

    class Curriculum(Arithmetic):
        drawn = 0

        def example(self, position: int) -> Any:
            self.drawn += 1
            return super().example(self.drawn * 7)

    uniform = "train.mixture = @mixtures.uniform()"
    config = small("train.steps = 1", "train.domains = [@arithmetic/Domain()]", uniform, *QUICK)
    [domain] = config.experiment.domains
    object.__setattr__(domain, "source", Concatenate([Curriculum()]) if wrapped else Curriculum())
    start(config, tmp_path / "run").execute()
    said = capsys.readouterr().out.replace("\n", " ")
    assert (
        f"the source {'Concatenate' if wrapped else 'Curriculum'} of arithmetic keeps a state that it does not save"
        in said
    )


def test_a_state_that_no_checkpoint_can_hold_is_refused_before_the_first_step(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small("train.steps = 1", *QUICK)
    monkeypatch.setattr(Underdog, "state_dict", lambda self: {"last": {1, 2}})
    monkeypatch.setattr(type(config.experiment), "build_reweighting", lambda self: Underdog(kinds(self)))
    with pytest.raises(ValueError, match=r"Underdog\.state_dict gives what a checkpoint cannot hold"):
        start(config, tmp_path / "run")
