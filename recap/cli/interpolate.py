"""`recap interpolate`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from recap.cli.application import app
from recap.cli.common import AllowUnusedOption, BindingOption, PluginOption, fail, load, screen

if TYPE_CHECKING:
    from recap.runs.interpolation import Measured


@app.command(epilog="Example:  recap interpolate runs/quickstart-recap-20260101-120000 --alphas 0:1:0.25")
def interpolate(
    run: Annotated[Path, typer.Argument(help="run directory, whose newest checkpoint is taken, or a checkpoint")],
    alphas: Annotated[
        str, typer.Option(help="START:END:STEP, or a list with commas; hundredths in [0, 1]")
    ] = "0:1:0.25",
    bind: BindingOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    allow_unused: AllowUnusedOption = False,
) -> None:
    """Evaluates mixtures (1 - alpha) base + alpha trained of a run's weights: what it keeps for what it gives up.

    By the run's own evaluation, on its capabilities; no step is trained. An adapter's update is multiplied by alpha. The
    results are kept in RUN/interpolation, logged to the run in MLflow (the step is 100 alpha), and drawn by `recap report`.
    """
    from recap.parallel.processes import is_main_process
    from recap.runs.interpolation import interpolate_run, parse_alphas
    from recap.runs.run_directory import go_where_it_was_started, started_with

    try:
        wanted = parse_alphas(alphas)
        run = run.absolute()
        started = started_with(run, None, bind, [str(Path(path).absolute()) for path in plugin])
        go_where_it_was_started(run)
        config = load(*started, allow_unused, bind)
        measured, notes = interpolate_run(config.experiment, run, wanted)
    except ValueError as error:
        fail(error)
    console = screen(quiet=not is_main_process())
    console.print(_table(measured))
    console.print(
        "forgetting index: 1 - mean of min(1, score / score at alpha = 0); standard errors: interpolation/scores.csv"
    )
    for note in notes:
        console.print(note)


def _table(measured: Measured) -> Table:
    """A row for each capability, a column for each mixture."""
    table = Table(title="score of (1 - alpha) base + alpha trained", title_justify="left", box=box.SIMPLE_HEAD)
    for header in ("capability", *(f"{alpha:g}" for alpha in measured)):
        table.add_column(header, no_wrap=True)
    columns = list(measured.values())
    for name in columns[0][0]:
        found = [scores[name] for scores, _ in columns]
        table.add_row(name, *(f"{score.score:.3f}" for score in found))
    if not all(math.isnan(index) for _, index in columns):
        table.add_row("forgetting index", *(f"{index:.3f}" for _, index in columns))
    return table
