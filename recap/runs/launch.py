"""Names and directories of runs."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env

from recap.experiment.experiment import Experiment
from recap.experiment.layout import DEEPSPEED
from recap.parallel.processes import join_processes as join_processes  # the first thing that a launch does together
from recap.runs.run_directory import free_run_directory


def run_name(experiment: Experiment, file: Path) -> str:
    """The configured name, or the file's with the policy's and a seed that is not 0: ``quickstart-recap-seed-3``."""
    if experiment.tracking.run_name:
        return experiment.tracking.run_name
    policy = type(experiment.build_reweighting()).__name__.lower()
    seed = f"-seed-{experiment.seed}" if experiment.seed else ""
    return f"{file.stem}-{policy}{seed}"


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


def shared_run_directory(directory: Path, output: Path | None = None) -> Path:
    """A directory that is this run's alone, the main process's choice on every process: their clocks may differ.

    Args:
        directory: to be made; where it is there already, as of a run that was started in the same second, one with a number
            behind its name is.
        output: to be taken instead, whether it is there or not, unless a run is in it.

    Raises:
        ValueError: on all processes, where `output` is a run's already, or none can be made.
    """
    state = PartialState(parse_flag_from_env("ACCELERATE_USE_CPU"))  # which it would not ask for itself
    choice: list[str] = ["", ""]
    if state.is_main_process:
        try:
            choice = [str(output or _made(directory)), ""]
            if output is not None:
                free_run_directory(output)
        except (ValueError, OSError) as error:
            choice = ["", str(error)]
    broadcast_object_list(choice)
    if choice[1]:
        raise ValueError(choice[1])
    return Path(choice[0])


def _made(directory: Path) -> Path:
    """The first of NAME, NAME-2, NAME-3, ... that nobody has made yet."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        made = directory if number == 1 else directory.with_name(f"{directory.name}-{number}")
        try:
            made.mkdir()
            return made
        except FileExistsError:
            continue
    raise AssertionError
