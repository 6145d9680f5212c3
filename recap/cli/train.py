"""`recap train`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recap.cli.application import app
from recap.cli.common import (
    AllowUnusedOption,
    BindingOption,
    ExperimentOrResume,
    PluginOption,
    checked,
    fail,
    load,
    print_notes,
    screen,
)
from recap.cli.sweep import JobsOption, SeedsOption, execute

if TYPE_CHECKING:
    from recap.experiment.config import LoadedConfig
    from recap.runs.resumption import Resumption

GO_ON = "to go on with them: recap sweep --resume DIRECTORY"
OutputOption = Annotated[
    Path | None,
    typer.Option(help="run directory for checkpoints and model; default runs/NAME-TIME. With --resume: fork into it"),
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(
        help="run directory or checkpoint to go on from, as the run was started, in the directory where it was; more -b"
        " bindings win and are kept. An older checkpoint, or --output, begins a run of its own"
    ),
]
SkipStepOption = Annotated[
    bool, typer.Option("--skip-step", help="with --resume: leave out the step that the run broke off in")
]


@app.command(
    epilog="Examples:  recap train experiments/quickstart.gin -b 'train.reweighting = @reweighting.uniform'"
    "    recap train --resume runs/quickstart-recap-20260101-120000"
)
def train(
    file: ExperimentOrResume = None,
    bind: BindingOption = [],  # noqa: B006  typer reads the default
    plugin: PluginOption = [],  # noqa: B006
    output: OutputOption = None,
    resume: ResumeOption = None,
    skip_step: SkipStepOption = False,
    seeds: SeedsOption = None,
    jobs: JobsOption = 1,
    allow_unused: AllowUnusedOption = False,
) -> None:
    """Trains an experiment, or goes on with a run that was stopped or killed. On several GPUs: `accelerate launch -m recap
    train FILE`; on several CPU processes: `ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m recap train FILE`."""
    if seeds is not None:
        if file is None or resume is not None:
            fail(ValueError(f"--seeds begins runs of an experiment file; {GO_ON}"))
        execute(file, [], seeds, jobs, bind, plugin, output=output, resume=None, allow_unused=allow_unused)
        return
    from recap.runs.launch import check_launch, join_processes, run_name
    from recap.runs.resumption import find_resumption
    from recap.runs.run_directory import free_run_directory, go_where_it_was_started, started_with

    found, where = None, None
    try:
        check_launch()
        new = bind if resume is not None else None
        if jobs > 1:
            raise ValueError(f"--jobs {jobs} is of several runs: name their seeds, e.g. --seeds 0-4")
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
        if missing := checked(config):
            raise config.located(ValueError("\n".join(missing)))
    except ValueError as error:
        fail(error)
    print_notes([*([where] if where else []), *_notes(config)], screen(stderr=True))
    steps = config.experiment.steps
    if found is not None and found.is_finished(steps):
        _say_finished(found, steps)
        return
    join_processes(config.experiment.collective_timeout_s)
    name = run_name(config.experiment, file)
    directory = _directory(name, output, found)
    _execute(config, directory, name, resume=resume, fork=output is not None, skip_step=skip_step)


def _execute(config: LoadedConfig, directory: Path, name: str, **how: Any) -> None:
    """Runs to the end, or says how to go on."""
    from recap.runs.run import Run, TrainingStopped

    record: dict[str, Any] = {"operative_config": config.operative, "command": config.command}
    try:
        Run(config.experiment, directory, name=name, **record, **how).execute()
    except KeyboardInterrupt:
        print(_stopped(directory), file=sys.stderr)
        raise typer.Exit(130) from None
    except (ValueError, TrainingStopped) as error:
        fail(config.located(error))


def _say_finished(found: Resumption, steps: int) -> None:
    """Nothing is left to do: what came of the run, and what would give it more."""
    from recap.runs.announce import last_lines
    from recap.runs.resumption import finished_line

    console = screen(quiet=os.environ.get("RANK", "0") != "0")
    for line in [f"note: {finished_line(found.run, found.step, steps)}", *last_lines(found.run)]:
        console.print(line)


def _directory(name: str, output: Path | None, found: Resumption | None) -> Path:
    """Where the run is kept: that of the run to go on with, or one that is its own."""
    from recap.runs.launch import shared_run_directory

    if found is not None and not found.fork:
        return found.run
    beside = found.run.parent if found is not None else Path("runs")
    try:
        return shared_run_directory(beside / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}", output)
    except ValueError as error:
        fail(error)


def _stopped(directory: Path) -> str:
    from recap.runs.run_directory import RECORD_FILE

    begun = (directory / RECORD_FILE).exists()
    return f"stopped; go on with: recap train --resume {directory}" if begun else "stopped; the run had not begun"


def _notes(config: LoadedConfig) -> list[str]:
    from recap.experiment.reference_check import reference_notes

    return [*config.notes, *reference_notes(config.experiment, ask_the_network=True)]
