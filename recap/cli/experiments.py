"""`recap experiments` and `recap init`: the experiments that travel with the project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recap.cli.application import app
from recap.cli.common import cannot_write, fail, screen
from registry.core import near_matches
from registry.shipped import shipped_experiments


@app.command(epilog="Example:  recap experiments paper")
def experiments(
    begin: Annotated[str, typer.Argument(help="only those whose name begins like this, e.g. paper")] = "",
) -> None:
    """Lists the experiments that come with recap; `recap train NAME` and `recap check NAME` find them by name, anywhere."""
    console = screen()
    found = {name: file for name, file in shipped_experiments().items() if name.startswith(begin)}
    if not found:
        fail(_unknown(begin))
    for name, file in found.items():
        console.print(f"{name}\n      {_first_sentence(file)}")


@app.command(epilog="Example:  recap init mine --experiment quickstart && recap train mine/quickstart.gin")
def init(
    directory: Annotated[Path, typer.Argument(help="where to put it; made if need be")],
    experiment: Annotated[str, typer.Option(help="a name of `recap experiments`")] = "quickstart",
) -> None:
    """Copies one experiment to start from. What it includes need not be copied: includes of experiments/ are found anywhere."""
    if experiment not in shipped_experiments():
        fail(_unknown(experiment))
    source = shipped_experiments()[experiment]
    target = directory / source.name
    if target.exists():
        fail(ValueError(f"{target} is there already"))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        fail(cannot_write("DIRECTORY", directory, error))
    print(f"wrote {target}; go on with: recap check {target}, recap train {target}")


def _unknown(name: str) -> ValueError:
    near = near_matches(name, shipped_experiments())
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return ValueError(f"no experiment {name!r}{hint}\n  all: recap experiments")


def _first_sentence(file: Path) -> str:
    """Of the comment that a file begins with."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines).partition(". ")[0].rstrip(".") if lines else "(no description)"
