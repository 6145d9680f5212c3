"""`recap train`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recap.cli.application import app
from recap.cli.common import AllowUnusedOption, BindingOption, PluginOption, fail, load, print_notes


@app.command(
    epilog="Examples:  recap train experiments/quickstart.gin -b 'train.reweighting = @reweighting.uniform'"
    "    recap train --resume runs/quickstart-recap-20260101-120000"
)
def train(
    file: Annotated[
        Path | None, typer.Argument(help="experiment file, e.g. experiments/quickstart.gin; not needed with --resume")
    ] = None,
    bind: BindingOption = [],  # noqa: B006  typer reads the default
    plugin: PluginOption = [],  # noqa: B006
    output: Annotated[
        Path | None,
        typer.Option(
            help="run directory for checkpoints and model; default runs/NAME-TIME. With --resume: fork into it"
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="run directory or checkpoint to go on from, as the run was started, in the directory where it was; more -b"
            " bindings win and are kept. An older checkpoint, or --output, begins a run of its own"
        ),
    ] = None,
    skip_step: Annotated[
        bool, typer.Option("--skip-step", help="with --resume: leave out the step that the run broke off in")
    ] = False,
    allow_unused: AllowUnusedOption = False,
) -> None:
    """Trains an experiment, or goes on with a run that was stopped or killed. On several GPUs: `accelerate launch -m recap
    train FILE`; on several CPU processes: `ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m recap train FILE`."""
    from recap.runs.launch import check_launch, run_name, shared_run_directory
    from recap.runs.resumption import find_resumption, finished_line
    from recap.runs.run_directory import RECORD_FILE, free_run_directory, go_where_it_was_started, started_with

    found, where = None, None
    try:
        check_launch()
        new = bind if resume is not None else None
        if skip_step and resume is None:
            raise ValueError("--skip-step is about a run that broke off: name it with --resume")
        if output is not None:
            output = output.absolute()
            free_run_directory(output)
        if resume is not None:
            resume, file = resume.absolute(), file and file.absolute()
            found = find_resumption(resume, fork=output is not None)
            file, bind, plugin = started_with(resume, file, bind, [str(Path(path).absolute()) for path in plugin])
            where = go_where_it_was_started(resume)
        if file is None:
            raise ValueError("name an experiment file, e.g. experiments/quickstart.gin, or a run to --resume")
        config = load(file, bind, plugin, allow_unused, new)
        missing = config.experiment.check()
    except ValueError as error:
        fail(error)
    if missing:
        fail(ValueError("\n".join(missing)))
    print_notes([*([where] if where else []), *config.notes], Console(stderr=True, soft_wrap=True))
    steps = config.experiment.steps
    if found is not None and found.is_finished(steps):
        print_notes([finished_line(found.run, found.step, steps)], Console(soft_wrap=True))
        return
    from recap.runs.run import Run, TrainingStopped

    name = run_name(config.experiment, file)
    if found is not None and not found.fork:
        directory = found.run
    else:
        beside = found.run.parent if found is not None else Path("runs")
        try:
            directory = shared_run_directory(beside / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}", output)
        except ValueError as error:
            fail(error)
    try:
        Run(
            config.experiment,
            directory,
            name=name,
            operative_config=config.operative,
            command=config.command,
            resume=resume,
            fork=output is not None,
            skip_step=skip_step,
        ).execute()
    except KeyboardInterrupt:
        begun = (directory / RECORD_FILE).exists()
        how = f"go on with: recap train --resume {directory}" if begun else "the run had not begun"
        print(f"stopped; {how}", file=sys.stderr)
        raise typer.Exit(130) from None
    except (ValueError, TrainingStopped) as error:
        fail(error)
