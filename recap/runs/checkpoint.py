"""Checkpoints: everything a run needs to go on where it stood.

A process may be killed at any instruction (a machine that loses power is another matter). A checkpoint is therefore
written under another name and renamed when it is whole, and deleted under another name again: whatever is called
``checkpoint-NUMBER`` can be resumed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

STATE_FILE = "recap_state.json"
BEST = "checkpoint-best"  # a link to the checkpoint with the highest score
PARTIAL, REPLACED, DELETED = ".partial-", ".replaced-", ".deleted-"  # what no reader may look into


def save_checkpoint(
    accelerator: Accelerator, directory: Path, step: int, state: Mapping[str, Any], score: float | None, *, keep: int
) -> Path:
    """Writes model, optimizer, schedule and random states (by Accelerate) and `state` (as JSON) under `directory`.

    Args:
        score: mean score of the capabilities at this step, where they were evaluated; the best is kept.
        keep: as in `Checkpoints`.
    """
    final = directory / f"checkpoint-{step:06d}"
    partial = directory / f"{PARTIAL}{step:06d}"
    if accelerator.is_main_process:
        directory.mkdir(parents=True, exist_ok=True)
        clean_up(directory)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()  # each process writes its own random state
    if accelerator.is_main_process:
        (partial / STATE_FILE).write_text(json.dumps({"step": step, "score": score, **state}))
        replaced = directory / f"{REPLACED}{final.name}"
        if final.exists():
            os.replace(final, replaced)
        os.replace(partial, final)
        shutil.rmtree(replaced, ignore_errors=True)
        _prune(directory, keep)
    accelerator.wait_for_everyone()
    return final


def _prune(directory: Path, keep: int) -> None:
    found = list_checkpoints(directory)
    best = best_checkpoint(directory)
    if best is not None:
        link = directory / f"{PARTIAL}best"
        link.unlink(missing_ok=True)
        link.symlink_to(best.name)
        os.replace(link, directory / BEST)
    for checkpoint in found[:-keep]:
        if checkpoint != best:
            deleted = directory / f"{DELETED}{checkpoint.name}"
            os.replace(checkpoint, deleted)
            shutil.rmtree(deleted)


def list_checkpoints(directory: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(path for path in directory.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name))


def best_checkpoint(directory: Path) -> Path | None:
    """The checkpoint with the highest score, the oldest of equal ones; None where none was evaluated."""
    scores = {path: read_state(path)["score"] for path in list_checkpoints(directory)}
    scored = {path: score for path, score in scores.items() if score is not None}
    return max(scored, key=scored.__getitem__, default=None)


def latest_checkpoint(run: Path) -> Path | None:
    """The newest complete checkpoint of a run directory, or the checkpoint itself; None where there is none."""
    if (run / STATE_FILE).is_file():
        return run
    return next(reversed(list_checkpoints(run)), None)


def latest_step(run: Path) -> int:
    """Of the newest complete checkpoint, or of the checkpoint itself; 0 where there is none."""
    checkpoint = latest_checkpoint(run)
    return int(read_state(checkpoint)["step"]) if checkpoint else 0


def read_state(checkpoint: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((checkpoint / STATE_FILE).read_text())
    return state


def load_checkpoint(accelerator: Accelerator, checkpoint: Path) -> dict[str, Any]:
    """Restores what `save_checkpoint` wrote; returns its `state`."""
    accelerator.load_state(str(checkpoint))
    return read_state(checkpoint)


def clean_up(directory: Path) -> None:
    """Finishes what a killed process left half done: on one process, while no other writes."""
    for replaced in directory.glob(f"{REPLACED}*"):
        place = directory / replaced.name.removeprefix(REPLACED)
        if place.exists():
            shutil.rmtree(replaced)
        else:  # killed between two renames: the new one never took the place
            os.replace(replaced, place)
    for unfinished in (*directory.glob(f"{PARTIAL}*"), *directory.glob(f"{DELETED}*")):
        if not unfinished.is_symlink():
            shutil.rmtree(unfinished)
