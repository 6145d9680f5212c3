"""`recap sweep`, and what it shares with `recap train --seeds`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recap.cli.application import app
from recap.cli.common import (
    AllowUnusedOption,
    BindingOption,
    ExperimentOrResume,
    PluginOption,
    check_alone,
    fail,
    screen,
)

if TYPE_CHECKING:
    from recap.sweeps.plan import Plan

SeedsOption = Annotated[
    str | None, typer.Option(help="a run for each: 0-4, or 0,3,7; each seeds all that has no seed bound")
]
JobsOption = Annotated[int, typer.Option(min=1, help="of several runs, so many at a time")]


@app.command(
    epilog="Example:  recap sweep quickstart -g 'train.reweighting = @reweighting.recap, @reweighting.uniform' --seeds 0-4"
    " --jobs 2    recap sweep --resume runs/quickstart-sweep-20260101-120000"
)
def sweep(
    file: ExperimentOrResume = None,
    grid: Annotated[
        list[str],
        typer.Option(
            "-g", "--grid", help="a binding with its values, e.g. 'adamw.learning_rate = 1e-5, 1e-4'; several multiply"
        ),
    ] = [],  # noqa: B006  typer reads the default
    seeds: SeedsOption = None,
    jobs: JobsOption = 1,
    bind: BindingOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    output: Annotated[Path | None, typer.Option(help="directory of the sweep; default runs/NAME-sweep-TIME")] = None,
    resume: Annotated[Path | None, typer.Option(help="directory of a sweep to go on with")] = None,
    allow_unused: AllowUnusedOption = False,
) -> None:
    """Runs an experiment for every combination of values and seeds, and shows what came out, mean and interval over the seeds.

    What is finished is not run again, what was begun goes on from its checkpoint, what failed is tried again.
    """
    if (file is None) == (resume is None):
        fail(ValueError("name an experiment file, or a sweep to --resume"))
    execute(file, grid, seeds, jobs, bind, plugin, output=output, resume=resume, allow_unused=allow_unused)


def execute(
    file: Path | None,
    grid: list[str],
    seeds: str | None,
    jobs: int,
    bind: list[str],
    plugin: list[str],
    *,
    output: Path | None,
    resume: Path | None,
    allow_unused: bool,
) -> None:
    """Runs the sweep, and prints its table; exits with 1 where a run failed."""
    from recap.sweeps.sweep import run_sweep, table

    console = screen()
    try:
        check_alone("a sweep starts processes of its own, --jobs at a time")
        plan, directory = None, resume
        if directory is None:
            assert file is not None
            plan = plan_of(file, grid, seeds, bind, plugin)
            directory = output or Path("runs") / f"{Path(plan.file).stem}-sweep-{time.strftime('%Y%m%d-%H%M%S')}"
        directory = directory.absolute()
        heading = iter([f"sweep in {directory}; to go on with it: recap sweep --resume {directory}"])

        def say(line: str) -> None:
            # Before the first line of a sweep that has begun: one whose plan does not hold says none.
            for first in heading:
                console.print(first)
            console.print(line)

        result = run_sweep(plan, directory, jobs=jobs, allow_unused=allow_unused, say=say)
    except ValueError as error:
        fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    found, notes = table(result.finished)
    if found is not None:
        console.print(found)
        say(f"differences, with what they are worth: recap compare {directory}")
    for note in notes:
        say(f"note: {note}")
    if result.failures:
        for failure in result.failures:
            say(str(failure))
        raise typer.Exit(1)


def plan_of(file: Path, grid: list[str], seeds: str | None, bind: list[str], plugin: list[str]) -> Plan:
    """What `recap sweep` and `recap search` run: the points of the grid, with every seed."""
    from recap.experiment.config import load_config
    from recap.sweeps.grid import points
    from recap.sweeps.grid import seeds as read_seeds
    from recap.sweeps.plan import Plan, refuse_what_the_sweep_binds
    from registry.shipped import located

    place = located(file)
    refuse_what_the_sweep_binds(grid, bind, seeds)
    plugins = tuple(str(Path(path).resolve()) for path in plugin)
    cells = points(grid, place.stem)
    if seeds is None:
        first = load_config(place, (*bind, *cells[0].bindings), plugins, allow_unused=True)
    chosen = [first.experiment.seed] if seeds is None else read_seeds(seeds)
    return Plan(str(place.resolve()), tuple(bind), plugins, tuple(cells), tuple(chosen))
