"""`recap study laptop`, from arms to runs to a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recap.studies.laptop.arms import Form, chosen
from recap.studies.laptop.claims import claims
from recap.studies.laptop.endpoint import findings
from recap.studies.laptop.figures import draw
from recap.studies.laptop.runs import read_arms, run_arm
from recap.studies.laptop.tables import markdown, write_csv
from recap.sweeps.runner import Failure, Say


def run_study(form: Form, output: Path, jobs: int, say: Say) -> Sequence[Failure]:
    """Runs the arms of a form one after the other, and writes the report anew after each.

    Raises:
        ValueError: no such arm, or another study is in the folder.
        KeyboardInterrupt: asked to stop; the same again goes on.
    """
    failures: list[Failure] = []
    arms = chosen(form.arms)
    for number, arm in enumerate(arms, 1):
        say(f"arm {number} of {len(arms)}, {arm.name}: {arm.asks}")
        failures += run_arm(arm, form, output, jobs, say)
        if written := write_report(form, output):
            say(f"written: {', '.join(map(str, written))}")
    return failures


def write_report(form: Form, output: Path) -> list[Path]:
    """Tables, figure and every seed's scores from what is finished; nothing where nothing is."""
    runs, left_out = read_arms(chosen(form.arms), output)
    if not runs:
        return []
    found = findings(runs)
    table, text, figure = output / "scores.csv", output / "report.md", output / "arms.png"
    write_csv(runs, table)
    draw(found, runs, figure)
    text.write_text(markdown(found, claims(runs), runs, left_out), encoding="utf-8")
    return [text, figure, table]
