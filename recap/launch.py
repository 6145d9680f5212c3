"""Names and directories of runs."""

from __future__ import annotations

from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from recap.experiment import Experiment


def run_name(experiment: Experiment, file: Path) -> str:
    """The configured name, or the file's with the policy's: ``quickstart-recap``."""
    if experiment.tracking.run_name:
        return experiment.tracking.run_name
    policy = type(experiment.build_reweighting()).__name__.lower()
    return f"{file.stem}-{policy}"


def shared_run_directory(directory: Path) -> Path:
    """The main process's choice, on every process: their clocks may differ by a second."""
    PartialState()
    choice = [str(directory)]
    broadcast_object_list(choice)
    return Path(choice[0])
