"""`recap ui`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recap.cli.application import app
from recap.cli.common import fail, print_notes, screen


@app.command(epilog="Examples:  recap ui    recap ui runs/quickstart-recap-20260101-120000")
def ui(
    run: Annotated[
        Path | None,
        typer.Argument(help="run directory, whose store is shown; default: the one that runs are logged to"),
    ] = None,
    uri: Annotated[str | None, typer.Option(help="MLflow's address or database, instead")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="of the pages of a database")] = 5000,
    host: Annotated[str, typer.Option(help="that they are served on")] = "127.0.0.1",
) -> None:
    """Shows runs in MLflow: starts its pages where they are in a database, and prints the addresses that matter."""
    from recap.runs.ui import find_pages, serve

    console = screen()
    try:
        pages = find_pages(run, uri)
        if pages.is_server:
            print_notes(pages.lines(), console)
            return
        with serve(pages.uri, host, port) as served:
            print_notes([*pages.lines(served.base), "Ctrl-C ends it"], console)
            served.wait()
    except ValueError as error:
        fail(error)
    except KeyboardInterrupt:
        return
