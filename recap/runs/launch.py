"""Names and directories of runs."""

from __future__ import annotations

import os
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from recap.experiment.experiment import Experiment
from recap.experiment.layout import DEEPSPEED
from recap.parallel.processes import join_processes as join_processes  # the first thing that a launch does together
from recap.runs.run_directory import RECORD_FILE


def run_name(experiment: Experiment, file: Path) -> str:
    """The configured name, or the file's with the policy's: ``quickstart-recap``."""
    if experiment.tracking.run_name:
        return experiment.tracking.run_name
    policy = type(experiment.build_reweighting()).__name__.lower()
    return f"{file.stem}-{policy}"


def check_launch() -> None:
    """Says so where `accelerate launch --cpu --num_processes 2` has started a single process, or DeepSpeed.

    Without MPI, that command sets up the addresses of several CPU processes but starts one (Accelerate 1.15).

    Raises:
        ValueError: with the command that does start them, or what to take instead of DeepSpeed.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        raise ValueError(DEEPSPEED)
    prepared = os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_PORT" in os.environ
    world_sizes = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
    if prepared and not any(name in os.environ for name in world_sizes):
        raise ValueError(
            "`accelerate launch --cpu` starts a single process unless it is given --mpirun_hostfile; for several CPU"
            " processes:\n  ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m recap train FILE"
        )


def free_run_directory(directory: Path) -> None:
    """Raises ValueError where a directory belongs to a run already."""
    if (directory / RECORD_FILE).exists():
        raise ValueError(
            f"--output {directory}: a run is there already. Go on with it: recap train --resume {directory}"
            " (or choose another directory)"
        )


def shared_run_directory(directory: Path) -> Path:
    """The main process's choice, on every process: their clocks may differ by a second."""
    PartialState()
    choice = [str(directory)]
    broadcast_object_list(choice)
    return Path(choice[0])
