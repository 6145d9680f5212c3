"""`recap sync`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recap.cli.application import app
from recap.cli.common import fail


@app.command(epilog="Example:  recap sync runs/quickstart-recap-20260101-120000")
def sync(run: Annotated[Path, typer.Argument(help="run directory, or one of its checkpoints")]) -> None:
    """Delivers to MLflow what a run logged while MLflow was away, from the run's directory."""
    from recap.runs.sync import sync_run

    try:
        print(sync_run(run))
    except ValueError as error:
        fail(error)
