"""`recap study`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from recap.cli.application import app
from recap.cli.common import PluginOption, fail, load_plugins

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
    run_command(settings, output, workers, plugin, Console(soft_wrap=True))
