"""`recap eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recap.cli.application import app
from recap.cli.common import check_alone, fail


@app.command("eval", epilog="Example:  recap eval runs/NAME --tasks arc_easy,hellaswag --limit 200")
def evaluate(
    place: Annotated[Path, typer.Argument(help="run directory that has a model/, or a directory of `recap export`")],
    tasks: Annotated[str, typer.Option(help="names of tasks, with commas")],
    harness: Annotated[str, typer.Option(help="lm-eval; for models that see, lmms-eval")] = "lm-eval",
    model_type: Annotated[
        str | None, typer.Option(help="the harness's name for what reads the model; default hf, or config.json's")
    ] = None,
    include: Annotated[Path | None, typer.Option(help="a folder of task definitions of your own (YAML)")] = None,
    limit: Annotated[int | None, typer.Option(help="examples per task", min=1)] = None,
    batch_size: Annotated[int, typer.Option(help="examples at once", min=1)] = 8,
    device: Annotated[str | None, typer.Option(help="as PyTorch names it, e.g. cuda:0")] = None,
) -> None:
    """Measures a model by benchmarks from outside; a run keeps the results in RUN/HARNESS and in its MLflow run."""
    from recap.integrations.harness import Request, exported_model, keep, measure_of, scores_of
    from recap.runs.run_directory import go_where_it_was_started

    try:
        check_alone("recap eval is one process")
        measure = measure_of(harness)
        place, folder = place.absolute(), None if include is None else include.absolute()
        model = exported_model(place)
        results = measure(Request(model, tasks.split(","), model_type, folder, limit, batch_size, device))
        scores = scores_of(results)
        for task, measures in scores.items():
            for name, value in measures.items():
                print(f"{task}  {name}  {value:.4f}")
        if model != place:
            go_where_it_was_started(place)
            print(keep(place, harness, results, scores))
    except ValueError as error:
        fail(error)
