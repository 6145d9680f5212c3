"""`recap compare`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from recap.cli.application import app
from recap.cli.common import (
    BaselineOption,
    FilterOption,
    MLflowExperimentOption,
    StoreOption,
    check_alone,
    fail,
    screen,
)

BINDINGS = 6  # that are shown of each group


@app.command(
    epilog="Examples:  recap compare runs/quickstart-* --margin 0.02    recap compare runs/my-sweep"
    "    recap compare --experiment 'recap quickstart' --filter \"params.steps = '60'\" --baseline uniform"
)
def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="run directories, a folder with runs in it such as a sweep's, or run ids of MLflow"),
    ] = None,
    baseline: BaselineOption = None,
    margin: Annotated[
        float | None, typer.Option(min=0, help="differences up to this count as none: tests for equivalence too")
    ] = None,
    step: Annotated[
        int | None, typer.Option(min=1, help="compare after this step; default: the last one evaluated")
    ] = None,
    reading: Annotated[
        Literal["strict", "lenient", "sampled"],
        typer.Option(help="the score: strict; with the answer looked for everywhere; or the mean of the samples"),
    ] = "strict",
    query: FilterOption = None,
    experiment: MLflowExperimentOption = None,
    uri: StoreOption = None,
) -> None:
    """Compares runs, in groups by policy: what each forgot, and whether the groups differ, over seeds and examples.

    Runs whose configurations differ in nothing but seeds are one group. What cannot be compared is refused: other examples,
    another base model, other steps.
    """
    from recap.evaluation.comparable import check_comparable, differing, group_runs
    from recap.evaluation.comparison import compare as compare_groups
    from recap.evaluation.comparison_report import footnotes, tables
    from recap.evaluation.drift_table import drift_table
    from recap.runs.measured import measured_runs

    try:
        check_alone("recap compare is one process")
        found = measured_runs(runs or [], query=query, experiment=experiment, uri=uri, step=step)
        notes = check_comparable(found)
        groups = group_runs(found)
        result = compare_groups(groups, baseline, reading=reading, margin=margin)
    except ValueError as error:
        fail(error)
    console = screen()
    for label, group in groups.items():
        console.print(f"{label}: {', '.join(run.name for run in group.values())}")
        bindings = sorted(differing(groups)[label], key=lambda binding: not binding.startswith("train."))
        more = [f"and {len(bindings) - BINDINGS} more bindings"] if len(bindings) > BINDINGS else []
        for line in [*bindings[:BINDINGS], *more]:
            console.print(f"    {line}")
    for table in [*tables(result), drift_table(groups, result.step)]:
        if table is not None:
            console.print(table)
    for line in [*footnotes(result), *notes]:
        console.print(line)
