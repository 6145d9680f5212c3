"""Whatever instruction a process dies at, a complete checkpoint is left, and it is the old or the new one."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from recap.experiment.run_settings import Checkpoints
from recap.runs.checkpoint import (
    CheckpointError,
    best_checkpoint,
    clean_up,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    read_state,
    read_tensors,
    save_checkpoint,
)
from recap.runs.run_directory import run_directory


class Died(BaseException):
    """What a SIGKILL is to a process: nothing after it runs."""


class Saver:
    """Stands in for Accelerate: one process that writes two files."""

    is_main_process = True
    device = "cpu"

    def reduce(self, sums: torch.Tensor) -> torch.Tensor:
        return sums

    def wait_for_everyone(self) -> None:
        pass

    def save_state(self, directory: str) -> None:
        Path(directory).mkdir()
        for name in ("model", "optimizer"):
            write(Path(directory) / name)


def write(path: Path) -> None:
    path.write_text("weights")


def save(directory: Path, step: int, score: float | None = None, keep: int = 1) -> Path:
    return save_checkpoint(Saver(), directory, step, {"content": step}, score, keep=keep)  # type: ignore[arg-type]


class DiesAt:
    """Counts calls that change the disk; dies before the given one, or in the middle of it, where that is possible."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
        self.calls = 0
        self.call = call
        for owner, name in ((os, "replace"), (Path, "write_text"), (Path, "symlink_to"), (Path, "unlink")):
            monkeypatch.setattr(owner, name, self.counted(getattr(owner, name)))
        monkeypatch.setattr(shutil, "rmtree", self.counted(shutil.rmtree, halfway=remove_one_file))

    def counted(self, original: Callable[..., Any], halfway: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == self.call:
                if halfway is not None:
                    halfway(args[0])
                raise Died
            return original(*args, **kwargs)

        return call


def remove_one_file(directory: Path) -> None:
    if directory.exists():
        os.unlink(directory / "model")


@pytest.mark.parametrize("step", [2, 1], ids=["the next step", "the same step again"])
def test_death_at_any_call_leaves_a_complete_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    deaths = 0
    for call in range(1, 100):
        directory = tmp_path / str(call)
        save(directory, 1, score=0.5)
        with monkeypatch.context() as patch:
            try:
                counter = DiesAt(patch, call)
                save(directory, step, score=0.6)
            except Died:
                deaths += 1
        clean_up(directory)
        latest = latest_checkpoint(directory)
        assert latest is not None
        for checkpoint in list_checkpoints(directory):
            assert {path.name for path in checkpoint.iterdir()} == {"model", "optimizer", "recap_state.json"}
            assert read_state(checkpoint)["step"] == int(checkpoint.name[-6:])
        assert best_checkpoint(directory) is not None
        save(directory, 3)  # and the next one is written as if nothing had happened
        assert latest_checkpoint(directory) == directory / "checkpoint-000003"
        assert not [path for path in directory.iterdir() if path.name.startswith(".")]
        if counter.calls < call:  # it got to the end
            break
    assert deaths > 5


def test_the_best_stays_and_is_linked(tmp_path: Path) -> None:
    for step, score in enumerate([0.1, 0.7, None, 0.7, 0.3, None], start=1):
        save(tmp_path, step, score, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == [f"checkpoint-00000{n}" for n in (2, 5, 6)]
    assert (tmp_path / "checkpoint-best").resolve() == (tmp_path / "checkpoint-000002").resolve()


def test_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    assert best_checkpoint(tmp_path) is None


@pytest.mark.parametrize(("setting", "value"), [("every", 0), ("keep", 0)])
def test_settings_out_of_range_are_named(setting: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"checkpoints.{setting} must be at least 1"):
        Checkpoints(**{setting: value})  # type: ignore[arg-type]


def test_a_full_disk_leaves_the_earlier_checkpoints(tmp_path: Path) -> None:
    """A real limit on the size of a file: the system refuses the write, as it does where no space is left."""
    save(tmp_path, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"checkpoint-000002 cannot be written \(OSError"):
            save(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000001"]
    assert save(tmp_path, 3) == tmp_path / "checkpoint-000003"


@pytest.mark.parametrize("call", ["replace", "symlink_to", "rmtree"])
def test_whatever_the_disk_refuses_a_checkpoint_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    save(tmp_path, 1, score=0.5)
    with monkeypatch.context() as patch:
        for owner, name in ((os, "replace"), (Path, "symlink_to"), (shutil, "rmtree")):
            if name == call:
                patch.setattr(owner, name, refused)
        with suppress(CheckpointError):
            save(tmp_path, 2, score=0.6)
    clean_up(tmp_path)
    assert latest_checkpoint(tmp_path) in (tmp_path / "checkpoint-000001", tmp_path / "checkpoint-000002")
    save(tmp_path, 3, score=0.7)
    assert list_checkpoints(tmp_path) == [tmp_path / "checkpoint-000003"]


def refused(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def test_the_best_is_known_where_no_links_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "symlink_to", refused)
    for step, score in enumerate([0.1, 0.7, 0.3], start=1):
        save(tmp_path, step, score)
    assert (tmp_path / "checkpoint-best").read_text() == "checkpoint-000002"
    assert latest_checkpoint(tmp_path / "checkpoint-best") == tmp_path / "checkpoint-000002"
    (tmp_path / "run.json").write_text("{}")
    assert run_directory(tmp_path / "checkpoint-best") == tmp_path
    assert clean_up(tmp_path) is None


# --- nothing that stands in a checkpoint is executed


class Malicious:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["MARK"],)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Accelerator, Path]:
    """A real checkpoint of a small model, and the accelerator that wrote it."""
    accelerator = Accelerator(cpu=True)
    model = torch.nn.Linear(3, 2)
    accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
    tensors = {"2.step": torch.ones(())}
    return accelerator, save_checkpoint(
        accelerator, tmp_path_factory.mktemp("run"), 1, {"content": 1}, None, keep=1, tensors=tensors
    )


def test_a_checkpoint_is_loaded(written: tuple[Accelerator, Path]) -> None:
    accelerator, checkpoint = written
    assert load_checkpoint(accelerator, checkpoint)["content"] == 1
    assert read_tensors(checkpoint) == {"2.step": torch.ones(())}
    files = {path.name for path in checkpoint.iterdir()}
    assert files == {
        "model.safetensors",
        "optimizer.bin",
        "random_states_0.pkl",
        "recap_state.json",
        "recap_state.safetensors",
    }


def load_all(accelerator: Accelerator, checkpoint: Path) -> None:
    load_checkpoint(accelerator, checkpoint)
    read_tensors(checkpoint)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin", "random_states_0.pkl", "recap_state.json"])
@pytest.mark.parametrize("harm", ["cut off", "missing"])
def test_a_damaged_checkpoint_says_so_and_which_others_there_are(
    written: tuple[Accelerator, Path], tmp_path: Path, name: str, harm: str
) -> None:
    if (name, harm) == ("random_states_0.pkl", "missing"):
        return  # as in a run that goes on with more processes
    accelerator, whole = written
    for step in (1, 2):
        shutil.copytree(whole, tmp_path / f"checkpoint-{step:06d}")
    damaged = tmp_path / "checkpoint-000002"
    if harm == "missing":
        (damaged / name).unlink()
    else:
        os.truncate(damaged / name, (damaged / name).stat().st_size // 2)
    with pytest.raises(ValueError, match="damaged") as error:
        load_checkpoint(accelerator, damaged)
    assert f"{damaged}" in str(error.value)
    assert f"{tmp_path / 'checkpoint-000001'}" in str(error.value)
    assert save(tmp_path, 3, score=0.5).is_dir()  # it does not keep a run from going on
    assert best_checkpoint(tmp_path) == tmp_path / "checkpoint-000003"


@pytest.mark.parametrize("protocol", ["torch", "pickle"])
@pytest.mark.parametrize(
    "file",
    ["optimizer.bin", "random_states_0.pkl", "pytorch_model.bin", "custom_checkpoint_0.pkl", "recap_state.safetensors"],
)
def test_a_pickle_in_a_checkpoint_does_not_run(
    written: tuple[Accelerator, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, protocol: str
) -> None:
    accelerator, checkpoint = written
    monkeypatch.setenv("MARK", str(tmp_path / "executed"))
    evil = tmp_path / "checkpoint-000001"
    shutil.copytree(checkpoint, evil)
    if file == "pytorch_model.bin":  # what Accelerate looks for where there is no safetensors file
        (evil / "model.safetensors").unlink()
    if protocol == "torch":
        torch.save({"state": Malicious()}, evil / file)
    else:
        (evil / file).write_bytes(pickle.dumps(Malicious()))
    refusals = r"nothing in it was run|run code when they are loaded|no file of plain numbers"
    with pytest.raises(ValueError, match=refusals):
        load_all(accelerator, evil)
    assert not (tmp_path / "executed").exists()
    pickle.loads(pickle.dumps(Malicious()))  # it would have
    assert (tmp_path / "executed").exists()
