"""Sources are opened by one process of a machine first, and nobody's collective ends meanwhile.

Started by torchrun, this file takes a step over a source that is slow to open: `torchrun ... test_machines.py DIRECTORY
SECONDS BINDINGS`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator

from recap.experiment.config import load_config
from recap.learning.trainer import Trainer
from recap.parallel.machines import on_each_machine_first
from registry import replay_sources
from registry.example import Example
from registry.replay.counting import Counting
from tests.processes import torchrun

ROOT = Path(__file__).resolve().parents[3]
ONE_PROMPT = [
    "train.prompts_per_step = 1",
    "train.domains = [@counting/Domain()]",
    "train.mixture = @mixtures.uniform()",
]


@replay_sources.register("slow_to_open")
class SlowToOpen(Counting):
    """Takes its time where nothing is in its folder yet, as a download does; two at a time would spoil it."""

    def __init__(self, folder: str = "", seconds: float = 0.0, broken: bool = False) -> None:
        super().__init__()
        self.folder, self.seconds, self.broken = Path(folder), seconds, broken

    def example(self, position: int) -> Example:
        if not (self.folder / "built").exists():
            (self.folder / "building").touch(exist_ok=False)
            time.sleep(self.seconds)
            if self.broken:
                raise ValueError("the disk is full")
            (self.folder / "built").write_text(os.environ["RANK"])
        return super().example(position)


def launched(tmp_path: Path, *bindings: str) -> subprocess.CompletedProcess[str]:
    slow = [
        "counting/Domain.source = @replay.slow_to_open()",
        f"replay.slow_to_open.folder = '{tmp_path}'",
        *bindings,
    ]
    return torchrun(__file__, str(tmp_path), json.dumps(slow))


def test_one_process_opens_first_and_the_others_find_it_open(small_bindings: list[str], tmp_path: Path) -> None:
    done = launched(tmp_path, *small_bindings, *ONE_PROMPT, "replay.slow_to_open.seconds = 1.0")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "built").read_text() == "0"
    first, second = (float((tmp_path / f"opened-in-{rank}").read_text()) for rank in range(2))
    assert first >= 1 > second


@pytest.mark.slow
def test_what_takes_longer_to_open_than_a_collective_may_take(small_bindings: list[str], tmp_path: Path) -> None:
    settings = ("train.collective_timeout_s = 20.0", "replay.slow_to_open.seconds = 30.0")
    done = launched(tmp_path, *small_bindings, *ONE_PROMPT, *settings)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "timeout").read_text() == "20.0"


def test_what_cannot_be_opened_ends_every_process(small_bindings: list[str], tmp_path: Path) -> None:
    done = launched(tmp_path, *small_bindings, *ONE_PROMPT, "replay.slow_to_open.broken = True")
    assert done.returncode != 0
    assert (tmp_path / "failed-0").read_text() == "counting/Domain.source: the disk is full"
    assert (tmp_path / "failed-1").read_text() == "process 0: counting/Domain.source: the disk is full"


def test_alone_the_work_is_done_once() -> None:
    calls: list[int] = []
    on_each_machine_first(Accelerator(cpu=True), lambda: calls.append(1))
    assert calls == [1]


def one_step(directory: Path, bindings: list[str]) -> None:
    rank = os.environ["RANK"]
    experiment = load_config(ROOT / "experiments" / "quickstart.gin", bindings, allow_unused=True).experiment
    try:
        trainer = Trainer(experiment)
    except ValueError as error:
        (directory / f"failed-{rank}").write_text(str(error))
        raise
    (opened,) = trainer.opened
    (directory / f"opened-in-{rank}").write_text(str(opened.seconds))
    with experiment.rewards:
        trainer.step()
    (directory / "timeout").write_text(str(default_timeout()))


def default_timeout() -> float:
    """Of the group that the collectives of training use, in seconds."""
    backend = dist.distributed_c10d._get_default_group()._get_backend(torch.device("cpu"))
    return float(backend.options._timeout.total_seconds())


if __name__ == "__main__":
    one_step(Path(sys.argv[1]), json.loads(sys.argv[2]))
