"""The outcomes as CSV, as Markdown and on the screen."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from recap.studies.markdown import markdown_table
from recap.studies.two_task.measures import Interval
from recap.studies.two_task.problem import STARTS, Array
from recap.studies.two_task.study import Outcome, Settings

SUMMARY = ("method", "reached", "stayed", "first step", "distance", "oscillation", "λ spread", "µs/step")
MEASURES = ("final_distance", "first_step", "oscillation")


def write_csv(outcomes: Sequence[Outcome], path: Path) -> None:
    """One row per method and start; intervals over seeds, an empty cell where there is none."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = [column for name in MEASURES for column in (name, f"{name}_half_width")]
        writer.writerow(
            ["method", "group", "start", "seeds", "reached", "stayed", *columns, "weight_spread", "seconds_per_step"]
        )
        for outcome in outcomes:
            for start, measures in zip(STARTS, outcome.measures, strict=True):
                intervals = [Interval.of(getattr(measures, name)) for name in MEASURES]
                numbers = [value for interval in intervals for value in (interval.mean, interval.half_width)]
                counts = [outcome.seeds, int(np.isfinite(measures.first_step).sum()), int(measures.stays.sum())]
                numbers += [outcome.weight_spread, outcome.seconds_per_step]
                cells = ["" if math.isnan(value) else f"{value:.6g}" for value in numbers]
                writer.writerow([outcome.method.name, outcome.method.group, start_name(start), *counts, *cells])


def markdown(outcomes: Sequence[Outcome], settings: Settings, notes: Sequence[str]) -> str:
    """A table over all starts, then final distance and first step per start, as Markdown."""
    lines = [
        f"Functions `{settings.functions}`, {settings.steps:,} steps, {settings.seeds} seeds; where the method sees no "
        "noise, 1.",
        "",
        *_markdown_table(SUMMARY, [summary(outcome) for outcome in outcomes]),
        "",
        "Final distance to the front, mean ± half of the 95 % interval:",
        "",
        *_markdown_table(_per_start(), [_row(outcome, "final_distance", 4) for outcome in outcomes]),
        "",
        "First step within 0.01 of the front, mean of the seeds that got there (how many, where not all):",
        "",
        *_markdown_table(_per_start(), [_row(outcome, "first_step", 0) for outcome in outcomes]),
        "",
        *(f"- {note}" for note in notes),
    ]
    return "\n".join(lines).rstrip() + "\n"


def screen(outcomes: Sequence[Outcome], settings: Settings) -> Table:
    """The summary over all starts."""
    table = Table(
        title=f"Two-task study: functions {settings.functions}, {settings.steps:,} steps, {settings.seeds} seeds"
    )
    for column in SUMMARY:
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    previous = None
    for outcome in outcomes:
        if outcome.method.group != previous:
            table.add_section()
        previous = outcome.method.group
        table.add_row(*summary(outcome))
    return table


def summary(outcome: Outcome) -> tuple[str, ...]:
    """Cells of `SUMMARY`: counts and means over all starts and seeds."""
    trajectories = outcome.seeds * len(STARTS)
    first = pooled(outcome, "first_step")
    spread = outcome.weight_spread
    return (
        outcome.method.name,
        f"{np.isfinite(first).sum()}/{trajectories}",
        f"{int(pooled(outcome, 'stays').sum())}/{trajectories}",
        _number(Interval.of(first).mean, 0),
        _number(float(np.mean(pooled(outcome, "final_distance"))), 4),
        _number(float(np.mean(pooled(outcome, "oscillation"))), 4),
        _number(spread, 3),
        f"{outcome.seconds_per_step * 1e6:.0f}",
    )


def pooled(outcome: Outcome, measure: str) -> Array:
    """A measure of every trajectory: [starts * seeds]."""
    return np.concatenate([getattr(measures, measure) for measures in outcome.measures])


def start_name(start: tuple[float, float]) -> str:
    return f"({start[0]:g}, {start[1]:g})"


def _per_start() -> tuple[str, ...]:
    return ("method", *(start_name(start) for start in STARTS))


def _row(outcome: Outcome, measure: str, digits: int) -> tuple[str, ...]:
    cells = []
    for measures in outcome.measures:
        values = getattr(measures, measure)
        interval, found = Interval.of(values), int(np.isfinite(values).sum())
        cell = _number(interval.mean, digits)
        if math.isfinite(interval.half_width):
            cell += f" ± {_number(interval.half_width, digits)}"
        cells.append(cell + (f" ({found}/{outcome.seeds})" if 0 < found < outcome.seeds else ""))
    return (outcome.method.name, *cells)


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return markdown_table(header, rows, ["---", *["---:"] * (len(header) - 1)])
