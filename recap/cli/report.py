"""`recap report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recap.cli.application import app
from recap.cli.common import (
    BaselineOption,
    FilterOption,
    MLflowExperimentOption,
    StoreOption,
    cannot_write,
    check_alone,
    fail,
    screen,
)


@app.command(
    epilog="Examples:  recap report runs/quickstart-*    recap report runs/my-sweep --output my-sweep.html"
    "    recap report --experiment 'recap quickstart' --filter \"params.steps = '80'\""
)
def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="run directories, a folder with runs in it (a sweep), or run ids of MLflow"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="the page; default: report.html in the one directory named, else here")
    ] = None,
    baseline: BaselineOption = None,
    query: FilterOption = None,
    experiment: MLflowExperimentOption = None,
    uri: StoreOption = None,
) -> None:
    """Writes one HTML page on runs: what each policy kept, what was forgotten, and whether it is real.

    The page needs nothing else and no network. Its figures are also kept with the runs in MLflow. Runs whose configurations
    differ in nothing but seeds are one group. What a run does not have is left out, and said.
    """
    from recap.report.cohort import cohort_of
    from recap.report.gather import reported_runs
    from recap.report.page import write_report
    from recap.report.publish import default_path, send

    try:
        check_alone("recap report is one process")
        found = reported_runs(runs or [], query=query, experiment=experiment, uri=uri)
        cohort = cohort_of(found, baseline)
        written = write_report(cohort)
        path = output or default_path(runs or [])
    except ValueError as error:
        fail(error)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written.html, encoding="utf-8")
    except OSError as error:
        fail(cannot_write("--output", path, error))
    console = screen()
    for line in [*(f"left out: {line}" for line in cohort.left_out), *send(written, cohort.runs), f"wrote {path}"]:
        console.print(line)
