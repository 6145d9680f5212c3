"""Checkpoints: everything a run needs to go on where it stood.

A process may be killed at any instruction (a machine that loses power is another matter). A checkpoint is therefore
written under another name and renamed when it is whole, and deleted under another name again: whatever is called
``checkpoint-NUMBER`` can be resumed. To load one executes nothing that stands in it.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate import Accelerator
from accelerate.utils import RNG_STATE_NAME
from accelerate.utils.other import load as load_plain
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from recap.parallel.processes import everywhere
from recap.runs.errors import first_line

if TYPE_CHECKING:  # who only looks for a checkpoint need not wait for what trains
    from recap.learning.models import Models

STATE_FILE = "recap_state.json"
TENSORS_FILE = "recap_state.safetensors"
BEST = "checkpoint-best"  # a link to the checkpoint with the highest score; where no links can be made, a file with its name
PARTIAL, REPLACED, DELETED = ".partial-", ".replaced-", ".deleted-"  # what no reader may look into


class CheckpointError(RuntimeError):
    """A checkpoint could not be written; those that were there still are."""


def save_checkpoint(
    accelerator: Accelerator,
    directory: Path,
    step: int,
    state: Mapping[str, Any],
    score: float | None,
    *,
    keep: int,
    tensors: Mapping[str, Tensor] | None = None,
    alone: bool = False,
) -> Path:
    """Writes model, optimizer and random states (by Accelerate), `state` (as JSON) and `tensors` under `directory`.

    Args:
        score: mean score of the capabilities at this step, where they were evaluated; the best is kept.
        keep: as in `Checkpoints`.
        alone: the main process writes without the others, which are gone; it must hold the whole model.

    Raises:
        CheckpointError: on all processes, where one of them could not write, as on a full disk.
    """
    final = directory / f"checkpoint-{step:06d}"
    partial = directory / f"{PARTIAL}{step:06d}"
    main = accelerator.is_main_process

    def begin() -> None:
        directory.mkdir(parents=True, exist_ok=True)
        clean_up(directory)

    def finish() -> None:
        if tensors:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial / TENSORS_FILE)
        (partial / STATE_FILE).write_text(json.dumps({"step": step, "score": score, **state}))
        replaced = directory / f"{REPLACED}{final.name}"
        if final.exists():
            os.replace(final, replaced)
        os.replace(partial, final)
        shutil.rmtree(replaced, ignore_errors=True)

    try:
        _together(accelerator, begin if main else None, f"{final} cannot be written", alone)
        # Each process writes its own random state, and of a sharded model its own part.
        _together(accelerator, lambda: accelerator.save_state(str(partial)), f"{final} cannot be written", alone)
        _together(accelerator, finish if main else None, f"{final} cannot be written", alone)
    except CheckpointError:
        if main:
            with suppress(OSError):
                clean_up(directory)
        raise
    tidy = f"{final} is written, but the older checkpoints cannot be tidied up"
    _together(accelerator, (lambda: _prune(directory, keep)) if main else None, tidy, alone)
    return final


def _together(accelerator: Accelerator, work: Callable[[], object] | None, failure: str, alone: bool) -> None:
    """Does this process's part, if any; what fails on one process fails on all."""
    error: Exception | None = None
    try:
        if work is not None:
            work()
    except Exception as found:  # a full disk is an OSError to Python, but not to safetensors or torch
        error = found
    fine = error is None if alone else everywhere(accelerator, error is None)
    if not fine:
        reason = "on another process" if error is None else f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{failure} ({reason})") from error


def _prune(directory: Path, keep: int) -> None:
    found = list_checkpoints(directory)
    best = best_checkpoint(directory)
    if best is not None:
        link = directory / f"{PARTIAL}best"
        link.unlink(missing_ok=True)
        try:
            link.symlink_to(best.name)
        except (OSError, NotImplementedError):  # FAT, some network file systems, Windows without the right
            link.write_text(best.name)
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
    scores: dict[Path, float] = {}
    for path in list_checkpoints(directory):
        with suppress(ValueError):  # a damaged one is none, and no reason to write no others
            if (score := read_state(path)["score"]) is not None:
                scores[path] = score
    return max(scores, key=scores.__getitem__, default=None)


def followed(path: Path) -> Path:
    """The path itself; of `checkpoint-best` what it stands for."""
    if path.name != BEST:
        return path
    return path.parent / Path(path.read_text().strip()).name if path.is_file() else path.resolve()


def latest_checkpoint(run: Path) -> Path | None:
    """The newest complete checkpoint of a run directory, or the checkpoint itself; None where there is none."""
    run = followed(run)
    if (run / STATE_FILE).is_file():
        return run
    return next(reversed(list_checkpoints(run)), None)


def latest_step(run: Path) -> int:
    """Of the newest complete checkpoint, or of the checkpoint itself; 0 where there is none."""
    checkpoint = latest_checkpoint(run)
    return int(read_state(checkpoint)["step"]) if checkpoint else 0


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What was given to `save_checkpoint` as `state`, with `step` and `score`.

    Raises:
        ValueError: it is missing or damaged.
    """
    try:
        state: dict[str, Any] = json.loads((checkpoint / STATE_FILE).read_text())
    except (OSError, ValueError) as error:
        raise _damaged(checkpoint, error) from error
    return state


def _damaged(checkpoint: Path, error: Exception) -> ValueError:
    others = [str(path) for path in list_checkpoints(checkpoint.parent) if path.name != checkpoint.name]
    way = f"go on from another one, {' or '.join(others)}" if others else "the run has no other one"
    return ValueError(f"{checkpoint} is damaged ({first_line(error)}); {way}")


def read_tensors(checkpoint: Path) -> dict[str, Tensor]:
    """What was given to `save_checkpoint` as `tensors`.

    Raises:
        ValueError: the file is damaged.
    """
    file = checkpoint / TENSORS_FILE
    try:
        return load_file(file) if file.is_file() else {}
    except SafetensorError as error:
        raise ValueError(f"{file} is no file of plain numbers ({error})") from error


def load_checkpoint(accelerator: Accelerator, checkpoint: Path) -> dict[str, Any]:
    """Restores what Accelerate wrote for `save_checkpoint`; returns its `state`.

    Raises:
        ValueError: it is damaged; or a file of it is more than numbers, would run code, and was not loaded.
    """
    if any(checkpoint.glob("custom_checkpoint_*.pkl")):
        raise ValueError(
            f"{checkpoint} was written by a version of recap whose checkpoints held pickles (custom_checkpoint_0.pkl), which"
            " run code when they are loaded; it can be resumed with that version only"
        )
    try:
        random_states = checkpoint / f"{RNG_STATE_NAME}_{accelerator.process_index}.pkl"
        if random_states.is_file():  # Accelerate would go on without a word if it were refused
            load_plain(random_states)
        accelerator.load_state(str(checkpoint))
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{checkpoint}: a file in it holds more than numbers, or is damaged; nothing in it was run"
            f" ({str(error).splitlines()[0]})"
        ) from error
    except (SafetensorError, OSError, EOFError) as error:
        raise _damaged(checkpoint, error) from error
    except RuntimeError as error:
        if "PytorchStreamReader" not in str(error):  # what torch says of a file that was cut off
            raise
        raise _damaged(checkpoint, error) from error
    return read_state(checkpoint)


def load_weights(models: Models, checkpoint: Path) -> None:
    """Gives the model, and the copy of it that samples, the weights of a checkpoint; it cannot be trained after that.

    Raises:
        ValueError: as `load_checkpoint`.
    """
    models.accelerator._optimizers.clear()  # the optimizer's moments, two more models, need not be read
    load_checkpoint(models.accelerator, checkpoint)
    models.samplers_are_stale = True
    models.refresh()


def clean_up(directory: Path) -> None:
    """Finishes what a killed process left half done: on one process, while no other writes."""
    for replaced in directory.glob(f"{REPLACED}*"):
        place = directory / replaced.name.removeprefix(REPLACED)
        if place.exists():
            shutil.rmtree(replaced)
        else:  # killed between two renames: the new one never took the place
            os.replace(replaced, place)
    for unfinished in (*directory.glob(f"{PARTIAL}*"), *directory.glob(f"{DELETED}*")):
        if unfinished.is_dir() and not unfinished.is_symlink():
            shutil.rmtree(unfinished)
