"""`recap study`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from recap.cli.application import app
from recap.cli.common import PluginOption, check_alone, fail, load_plugins, screen
from recap.cli.sweep import JobsOption

study_app = typer.Typer(help="Studies of the method itself, small enough for a laptop.", no_args_is_help=True)
app.add_typer(study_app, name="study")


@study_app.command("two-task", epilog="Example:  recap study two-task --workers 2 --output runs/two-task")
def two_task(
    output: Annotated[Path, typer.Option(help="directory for tables and figures")] = Path("runs/two-task"),
    steps: Annotated[int, typer.Option(help="Adam steps; far fewer than the default is a trial, no result")] = 10_000,
    seeds: Annotated[int, typer.Option(help="seeds of the noise on L1")] = 10,
    workers: Annotated[int, typer.Option(min=1, help="processes, one thread each")] = 2,
    functions: Annotated[
        Literal["printed", "cagrad"],
        typer.Option(help="the losses as the paper prints them, or as CAGrad's public code has them"),
    ] = "printed",
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Compares all reweighting policies and gradient methods on two conflicting losses of two variables:
    distance to the Pareto front, steps to reach it, oscillation, time per step."""
    load_plugins(plugin)
    from recap.studies.two_task.command import run_command
    from recap.studies.two_task.study import Settings

    try:
        settings = Settings(functions=functions, steps=steps, seeds=seeds)
    except ValueError as error:
        fail(error)
    run_command(settings, output, workers, plugin, screen())


@study_app.command(
    "laptop", epilog="Example:  recap study laptop --form short --jobs 2    (the same again goes on where it stopped)"
)
def laptop(
    output: Annotated[Path | None, typer.Option(help="its folder; default runs/laptop, runs/laptop-FORM")] = None,
    form: Annotated[
        Literal["long", "short", "favourable"],
        typer.Option(help="short: four arms and seeds of 40 steps, 20 minutes on 2 cores; favourable: to weights"),
    ] = "long",
    arms: Annotated[
        str | None, typer.Option(help="of experiments/laptop/, with commas; what they are compared with comes along")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="0-7, or 0,3,7, the same for every arm")] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            help="a report's scores.csv: its arms are compared with and not run again; docs/laptop_scores.csv"
        ),
    ] = None,
    jobs: JobsOption = 2,
) -> None:
    """What in RECAP does the work: replay, its weights, or their feedback? 31 arms, eight seeds, a night on 2 cores.

    docs/laptop_protocol.md says what is compared. The report is written after every arm. The same
    command goes on where it was stopped.
    """
    from dataclasses import replace

    from recap.studies.laptop.arms import FORMS
    from recap.studies.laptop.command import run_study

    chosen = FORMS[form]
    if arms is not None:
        chosen = replace(chosen, arms=[name.strip() for name in arms.split(",")])
    if seeds is not None:
        chosen = replace(chosen, seeds=seeds)
    place = output or Path("runs") / ("laptop" if form == "long" else f"laptop-{form}")
    console = screen()
    try:
        check_alone("the study starts processes of its own, --jobs at a time")
        failures = run_study(chosen, place, jobs, lambda line: console.print(line), scores)
    except ValueError as error:
        fail(error)
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on")
        raise typer.Exit(130) from None
    for failure in failures:
        console.print(str(failure))
    if failures:
        raise typer.Exit(1)
