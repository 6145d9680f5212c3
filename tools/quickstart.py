"""The quick start: RECAP and reasoning-only on the tiny model, and a table of what each did to every capability.

Run it with `make quickstart`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from recap.evaluation.scores import CapabilityScore
from recap.experiment.config import load_config
from recap.runs.launch import run_name, shared_run_directory
from recap.runs.run import Run

EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"
Scores = dict[str, CapabilityScore]


def train(file: Path, bindings: list[str]) -> tuple[Scores, Scores]:
    """Trains an experiment; returns the scores before and after."""
    config = load_config(file, bindings, allow_unused=True)  # the same bindings for two files
    config.experiment.check()
    name = run_name(config.experiment, file)
    directory = shared_run_directory(Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    run = Run(config.experiment, directory, name=name, operative_config=config.operative, command=config.command)
    scores = run.execute()
    return scores[0], scores[config.experiment.steps]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-b", "--bind", action="append", default=[], help="a gin binding for both runs; repeatable")
    bindings = parser.parse_args().bind
    console = Console()
    started = time.monotonic()

    console.rule("RECAP: reasoning with replay")
    base, recap = train(EXPERIMENTS / "quickstart.gin", bindings)
    console.rule("reasoning only: the same steps without replay")
    _, reasoning_only = train(EXPERIMENTS / "quickstart_reasoning_only.gin", bindings)

    table = Table(title="held-out score ± standard error, as measured in these two runs", title_justify="left")
    table.add_column("capability")
    for column in ("base", "reasoning-only", "RECAP"):
        table.add_column(column, justify="right")
    for capability in base:
        cells = [scores[capability] for scores in (base, reasoning_only, recap)]
        table.add_row(capability, *(f"{cell.score:.3f} ± {cell.standard_error:.3f}" for cell in cells))
    console.print(table)
    console.print(
        f"both runs took {time.monotonic() - started:.0f} s. Browse them:\n\n"
        "    make ui        # mlflow ui --backend-store-uri sqlite:///runs/mlflow.db\n",
        highlight=False,
    )


if __name__ == "__main__":
    main()
