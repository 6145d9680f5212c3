"""What a run did to every capability, as the table that it ends with."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.table import Table

from recap.evaluation.outcomes import Outcomes, read_outcomes
from recap.evaluation.paired import paired
from recap.evaluation.score_table import score_table
from recap.runs.outcomes import FOLDER


def result_table(run: Path) -> Table | None:
    """Held-out scores before the first step and at the newest evaluation, with the change on the same examples.

    Args:
        run: its directory.

    Returns: None of a run that was not evaluated both before and after.
    """
    files = sorted((run / FOLDER).glob("step-*.parquet"))
    if len(files) < 2 or _step(files[0]) != 0:
        return None
    return _table(read_outcomes(files[0])[0], read_outcomes(files[-1])[0], _step(files[-1]))


def _table(base: Outcomes, now: Outcomes, step: int) -> Table:
    title = f"held-out score before the first step and after step {step}; change on the same examples ± 95 %"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("capability", overflow="fold")
    for header in ("examples", "before", "after", "change"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, rows in now.items():
        if name not in base:
            continue
        before, after = score_table(base[name]), score_table(rows)
        means = [f"{table_.means().mean():.3f}" if table_.scores.size else "-" for table_ in (before, after)]
        change = paired(after, before)
        table.add_row(name, str(len(after.positions)), *means, str(change))
    return table


def _step(file: Path) -> int:
    return int(file.stem.removeprefix("step-"))
