"""`recap study laptop`, from arms to runs to a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recap.studies.laptop.arms import Arm, Form, chosen
from recap.studies.laptop.claims import claims
from recap.studies.laptop.drift import write_drift
from recap.studies.laptop.endpoint import findings
from recap.studies.laptop.figures import draw
from recap.studies.laptop.pairs import write_pairs
from recap.studies.laptop.runs import Runs, read_arms, run_arm
from recap.studies.laptop.scores import joined, read_scores, write_scores
from recap.studies.laptop.tables import markdown
from recap.sweeps.grid import seeds
from recap.sweeps.runner import Failure, Say


def run_study(form: Form, output: Path, jobs: int, say: Say, scores: Path | None = None) -> Sequence[Failure]:
    """Runs the arms of a form one after the other, and writes the report anew after each.

    Args:
        scores: of arms that were run before, as the report's scores.csv has them; compared with, and not run again unless
            another arm needs their weights; of an arm with some of its seeds the others are run.

    Raises:
        ValueError: no such arm, another study is in the folder, or the scores are not of the same form, examples and base.
        KeyboardInterrupt: asked to stop; the same again goes on.
    """
    failures: list[Failure] = []
    known = {} if scores is None else read_scores(scores, form.name)
    chosen(tuple(known))  # every one of them has a file
    arms = to_run(form, known)
    for number, (arm, of) in enumerate(arms.items(), 1):
        say(f"arm {number} of {len(arms)}, {arm.name}: {arm.asks}")
        failures += run_arm(arm, form, of, output, jobs, say)
        _write(form, output, known, say)
    if not arms:
        say("the scores of every arm are known: nothing is run")
        _write(form, output, known, say)
    return failures


def _write(form: Form, output: Path, known: Runs, say: Say) -> None:
    if written := write_report(form, output, known):
        say(f"written: {', '.join(map(str, written))}")


def to_run(form: Form, known: Runs) -> dict[Arm, list[int]]:
    """The arms of a form and the seeds whose scores are not known; all seeds of an arm whose weights such an arm replays."""
    wanted = seeds(form.seeds)
    unknown = {arm: [s for s in wanted if s not in known.get(arm.name, {})] for arm in chosen(form.arms)}
    replayed = {arm.replays for arm, of in unknown.items() if of}
    return {arm: wanted if arm.name in replayed else of for arm, of in unknown.items() if of or arm.name in replayed}


def write_report(form: Form, output: Path, known: Runs | None = None) -> list[Path]:
    """Tables, figure, and CSVs of every seed and every two arms; nothing where nothing is finished or known."""
    runs, left_out = read_arms(chosen(form.arms), output)
    if known:
        runs = joined(known, runs)
    if not runs:
        return []
    output.mkdir(parents=True, exist_ok=True)
    found = findings(runs)
    text, figure, table, pairs, drift = (
        output / name for name in ("report.md", "arms.png", "scores.csv", "pairs.csv", "drift.csv")
    )
    write_scores(runs, table, form.name)
    write_pairs(runs, pairs, form.name)
    write_drift(runs, drift, form.name)
    draw(found, runs, figure)
    text.write_text(markdown(found, claims(runs), runs, left_out), encoding="utf-8")
    return [text, figure, table, pairs, drift]
