"""Whatever instruction a process dies at, a complete checkpoint is left, and it is the old or the new one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recap.experiment.run_settings import Checkpoints
from recap.runs.checkpoint import (
    best_checkpoint,
    clean_up,
    latest_checkpoint,
    list_checkpoints,
    read_state,
    save_checkpoint,
)


class Died(BaseException):
    """What a SIGKILL is to a process: nothing after it runs."""


class Saver:
    """Stands in for Accelerate: one process that writes two files."""

    is_main_process = True

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
