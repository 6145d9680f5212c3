"""The quick start: RECAP and reasoning-only on the tiny model, and what each did to every skill, example by example.

Run it with `make quickstart`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from quickstart_report import Skill, draw, report_table, skills, verdict
from rich.console import Console

from recap.evaluation.outcomes import read_outcomes
from recap.experiment.config import load_config
from recap.runs.launch import run_name, shared_run_directory
from recap.runs.outcomes import FOLDER, file_name
from recap.runs.run import Run

EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"
FIGURE = Path("runs/quickstart.png")


def train(file: Path, bindings: list[str]) -> tuple[Path, int]:
    """Trains an experiment; returns its directory and its last step."""
    config = load_config(file, bindings, allow_unused=True)  # the same bindings for two files
    config.experiment.check()
    name = run_name(config.experiment, file)
    directory = shared_run_directory(Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    Run(config.experiment, directory, name=name, operative_config=config.operative, command=config.command).execute()
    return directory, config.experiment.steps


def compared(recap: Path, reasoning_only: Path, step: int) -> list[Skill]:
    """Every skill before, and after each of two finished runs."""
    files = [recap / FOLDER / file_name(0), reasoning_only / FOLDER / file_name(step), recap / FOLDER / file_name(step)]
    return skills(*(read_outcomes(file)[0] for file in files))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-b", "--bind", action="append", default=[], help="a gin binding for both runs; repeatable")
    bindings = parser.parse_args().bind
    console = Console()
    started = time.monotonic()

    console.rule("RECAP: reasoning with replay")
    recap, step = train(EXPERIMENTS / "quickstart.gin", bindings)
    console.rule("reasoning only: the same steps without replay")
    reasoning_only, _ = train(EXPERIMENTS / "quickstart_reasoning_only.gin", bindings)

    found = compared(recap, reasoning_only, step)
    console.print(report_table(found))
    console.print(verdict(found), highlight=False)
    draw(found, FIGURE)
    console.print(
        f"\nBoth runs took {time.monotonic() - started:.0f} s. The figure: {FIGURE}. Browse the runs:\n\n"
        "    make ui        # mlflow ui --backend-store-uri sqlite:///runs/mlflow.db\n",
        highlight=False,
    )


if __name__ == "__main__":
    main()
