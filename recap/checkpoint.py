"""Checkpoints: everything a run needs to go on where it stood."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gin
from accelerate import Accelerator

STATE_FILE = "recap_state.json"


@gin.configurable("checkpoints", module="recap")
@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """When checkpoints are written, and how many are kept.

    Args:
        every: steps between checkpoints; None: only when a run is interrupted or stopped.
        keep: the newest ones that stay.
        save_model: whether the trained model is written at the end, as a directory that `from_pretrained` loads.
    """

    every: int | None = None
    keep: int = 2
    save_model: bool = True

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise ValueError(f"checkpoints.every must be at least 1, or None; it is {self.every}")
        if self.keep < 1:
            raise ValueError(f"checkpoints.keep must be at least 1; it is {self.keep}")

    def save(self, accelerator: Accelerator, directory: Path, step: int, state: Mapping[str, Any]) -> Path:
        """Writes model, optimizer, schedule and random states (by Accelerate) and `state` (as JSON) under `directory`.

        The checkpoint appears under its final name only when it is complete.
        """
        final = directory / f"checkpoint-{step:06d}"
        partial = directory / f".partial-{step:06d}"
        if accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(partial))
        accelerator.wait_for_everyone()  # the others may still be writing
        if accelerator.is_main_process:
            (partial / STATE_FILE).write_text(json.dumps({"step": step, **state}))
            shutil.rmtree(final, ignore_errors=True)
            os.replace(partial, final)
            for old in list_checkpoints(directory)[: -self.keep]:
                shutil.rmtree(old)
        accelerator.wait_for_everyone()
        return final


def list_checkpoints(directory: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(path for path in directory.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name))


def latest_checkpoint(run: Path) -> Path:
    """The newest complete checkpoint of a run directory, or the checkpoint itself.

    Raises:
        ValueError: there is none.
    """
    if (run / STATE_FILE).is_file():
        return run
    found = list_checkpoints(run)
    if not found:
        raise ValueError(f"no complete checkpoint under {str(run)!r}")
    return found[-1]


def load_checkpoint(accelerator: Accelerator, checkpoint: Path) -> dict[str, Any]:
    """Restores what `Checkpoints.save` wrote; returns its `state`."""
    accelerator.load_state(str(checkpoint))
    state: dict[str, Any] = json.loads((checkpoint / STATE_FILE).read_text())
    return state
