"""`recap study two-task`, from settings to tables, figures and MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from recap.studies.two_task.figures import draw
from recap.studies.two_task.logged import log_study
from recap.studies.two_task.methods import Method, all_methods
from recap.studies.two_task.problem import TwoTask
from recap.studies.two_task.study import Outcome, Settings, run_methods
from recap.studies.two_task.tables import markdown, screen, write_csv

FIGURES = {
    "methods.png": ("policy", "gradient method"),
    "alpha.png": ("alpha",),
    "temperature.png": ("temperature",),
    "readings.png": ("reading",),
}
"""File -> the groups of methods it shows: the layouts of the paper's Figures 13, 16 and 17, and the readings."""

SHOWN_WITH_ALL = ("alpha.png", "temperature.png", "readings.png")
"""Where RECAP with its defaults (T = 5, s = c + i) stands first, to compare with."""


TABLE_WIDTH = 104  # a narrower terminal breaks the lines, but no cell loses its end


def run_command(settings: Settings, output: Path, workers: int, plugins: Sequence[str], console: Console) -> None:
    """Runs everything, writes it under `output`, logs it, and prints the table."""
    methods, notes = all_methods()
    outcomes: list[Outcome] = []
    results = run_methods(methods, settings, workers=workers, plugins=plugins)
    for result in track(results, "methods", total=len(methods), console=console, transient=True):
        if isinstance(result, Outcome):
            outcomes.append(result)
        else:
            notes.append(str(result))
    output.mkdir(parents=True, exist_ok=True)
    files = _write(outcomes, settings, notes, output)
    run_id = log_study(outcomes, settings, files)
    console.width = max(console.width, TABLE_WIDTH)
    console.print(screen(outcomes, settings))
    for note in notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    console.print(f"written: {', '.join(map(str, files))}; MLflow run {run_id}", highlight=False, markup=False)


def _write(outcomes: Sequence[Outcome], settings: Settings, notes: Sequence[str], output: Path) -> list[Path]:
    table, text = output / "results.csv", output / "results.md"
    write_csv(outcomes, table)
    text.write_text(markdown(outcomes, settings, notes), encoding="utf-8")
    files = [table, text]
    for name, groups in FIGURES.items():
        shown = [outcome for outcome in outcomes if outcome.method.group in groups]
        if name in SHOWN_WITH_ALL:
            shown = [outcome for outcome in outcomes if _is_default_recap(outcome.method)] + shown
        if shown:
            draw(shown, TwoTask(settings.functions), output / name)
            files.append(output / name)
    return files


def _is_default_recap(method: Method) -> bool:
    return method.group == "policy" and method.name == "recap"
