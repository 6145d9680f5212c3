"""`recap train`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from recap.cli.application import app
from recap.cli.common import AllowUnusedOption, BindingOption, PluginOption, fail, load, print_notes

if TYPE_CHECKING:
    from recap.experiment.config import LoadedConfig


@app.command(
    epilog="Examples:  recap train experiments/quickstart.gin -b 'train.reweighting = @reweighting.uniform'"
    "    recap train --resume runs/quickstart-recap-20260101-120000"
)
def train(
    file: Annotated[
        Path | None, typer.Argument(help="experiment file, or a name of `recap experiments`; not needed with --resume")
    ] = None,
    bind: BindingOption = [],  # noqa: B006  typer reads the default
    plugin: PluginOption = [],  # noqa: B006
    output: Annotated[
        Path | None, typer.Option(help="run directory for checkpoints and model; default runs/NAME-TIME")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="run directory or checkpoint to go on from, as the run was started; more -b bindings win"),
    ] = None,
    allow_unused: AllowUnusedOption = False,
) -> None:
    """Trains an experiment, or goes on with a run that was stopped or killed. On several GPUs: `accelerate launch -m recap
    train FILE`; on several CPU processes: `ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m recap train FILE`."""
    from recap.runs.launch import check_launch, free_run_directory, join_processes, run_name, shared_run_directory
    from recap.runs.run_directory import started_with

    try:
        check_launch()
        new = bind if resume is not None else None
        if resume is not None:
            file, bind, plugin = started_with(resume, file, bind, plugin)
        elif output is not None:
            free_run_directory(output)
        if file is None:
            raise ValueError("name an experiment file, e.g. experiments/quickstart.gin, or a run to --resume")
        config = load(file, bind, plugin, allow_unused, new)
        missing = config.experiment.check()
    except ValueError as error:
        fail(error)
    if missing:
        fail(ValueError("\n".join(missing)))
    print_notes(_notes(config), Console(stderr=True, soft_wrap=True))
    from recap.runs.run import Run, TrainingStopped

    join_processes(config.experiment.collective_timeout_s)
    name = run_name(config.experiment, file)
    directory = output or shared_run_directory(Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        Run(
            config.experiment,
            directory,
            name=name,
            operative_config=config.operative,
            command=config.command,
            resume=resume,
        ).execute()
    except KeyboardInterrupt:
        print(f"stopped; go on with: recap train --resume {resume or directory}", file=sys.stderr)
        raise typer.Exit(130) from None
    except (ValueError, TrainingStopped) as error:
        fail(error)


def _notes(config: LoadedConfig) -> list[str]:
    from recap.experiment.reference_check import reference_notes

    return [*config.notes, *reference_notes(config.experiment, ask_the_network=True)]
