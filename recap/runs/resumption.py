"""What it means to go on from a run, or from a checkpoint: the same run, or a fork.

A run has one history. From its newest checkpoint it goes on, in its directory and its MLflow run, also with changed
settings. From an older checkpoint, whose future the run holds already, or into another directory, a fork goes on: a
run of its own that names the one it began as.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap.runs.checkpoint import REPLACED, STATE_FILE, followed, latest_checkpoint, latest_step, read_state
from recap.runs.run_directory import RECORD_FILE, RunRecord, last_step_begun, read_record, run_directory


@dataclass(frozen=True)
class Resumption:
    """What to go on from.

    Attributes:
        start: a run directory, whose newest checkpoint is meant, or a checkpoint.
        run: the directory of the run.
        record: of the run; None of a checkpoint that stands alone, which can only be forked.
        step: of the checkpoint; 0 where there is none yet.
        fork: whether a run of its own begins.
    """

    start: Path
    run: Path
    record: RunRecord | None
    step: int
    fork: bool

    @property
    def origin(self) -> dict[str, Any] | None:
        """What a fork remembers of the run that it began as."""
        if not self.fork:
            return None
        run_id = self.record.mlflow_run_id if self.record else None
        return {"run": str(self.run.resolve()), "mlflow_run_id": run_id, "step": self.step}

    @property
    def tags(self) -> dict[str, str]:
        """The same for MLflow, which shows a fork under the run that it began as."""
        origin = self.origin
        if origin is None:
            return {}
        parent = origin["mlflow_run_id"]
        tags = {"recap.forked_from": str(parent or origin["run"]), "recap.forked_at_step": str(self.step)}
        return tags | ({"mlflow.parentRunId": parent} if parent else {})

    @property
    def step_to_skip(self) -> int:
        """The step, from 1, that was begun and is not in the checkpoint; else the next one."""
        return max(last_step_begun(self.run), self.step + 1)

    def is_finished(self, steps: int) -> bool:
        """Whether nothing is left to do for a run that is to have so many steps."""
        return not self.fork and self.record is not None and self.record.finished and self.step >= steps


def find_resumption(start: Path, fork: bool = False) -> Resumption:
    """What `start` means; `fork` asks for a run of its own.

    Raises:
        ValueError: no run there, or a fork of a run without a checkpoint.
    """
    start = followed(start)
    run = run_directory(start)
    older = (start / STATE_FILE).is_file() and read_state(start)["step"] < _newest_step(run)
    fork = fork or older
    record = None if fork and not (run / RECORD_FILE).is_file() else read_record(run)
    if fork and latest_checkpoint(start) is None:
        raise ValueError(f"{start}: no checkpoint there yet to begin another run from")
    return Resumption(start, run, record, latest_step(start), fork)


def _newest_step(run: Path) -> int:
    """Of the checkpoints of a run, also of one that a killed process left under another name."""
    names = [path.name.removeprefix(REPLACED) for path in (*run.glob("checkpoint-*"), *run.glob(f"{REPLACED}*"))]
    return max((int(name[11:]) for name in names if name[11:].isdigit()), default=0)


def finished_line(run: Path, step: int, steps: int) -> str:
    """What a person who resumes a finished run should know."""
    return (
        f"{run} is finished: it stands at step {step} of {steps}; to give it more steps: recap train --resume {run}"
        f" -b 'train.steps = {2 * steps}'"
    )
