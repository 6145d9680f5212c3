"""Every seed's scores as CSV: written beside the report, and read again in the place of runs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from recap.studies.laptop.arms import ARMS, KEPT, LEARNT
from recap.studies.laptop.runs import ArmRun, Runs

SAME_BASE = 0.005
"""Another machine's rounding changes a few of a thousand answers of the base; other examples, or another base, change more."""


class Row(NamedTuple):
    """The mean scores of one skill before and after one run, of a form of the study."""

    form: str
    arm: str
    seed: int
    skill: str
    examples: int
    base: float
    after: float


def write_scores(runs: Runs, path: Path, form: str) -> None:
    """A row for every arm, seed and skill."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(Row._fields)
        for arm, by_seed in runs.items():
            for seed, run in sorted(by_seed.items()):
                for skill, after in run.after.items():
                    rows.writerow(
                        [form, arm, seed, skill, run.examples[skill], f"{run.base[skill]:.6f}", f"{after:.6f}"]
                    )


def read_scores(path: Path, form: str) -> Runs:
    """The runs of a file that `write_scores` wrote, without their series.

    Args:
        form: that they must be of: other steps and settings cannot be compared with.

    Raises:
        ValueError: no such file, not of this kind or form, with the line, or a run without some of the skills.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as the scores of a study: {error}") from None
    if not lines or tuple(lines[0]) != Row._fields:
        raise ValueError(f"{path} is no table of a study's scores: its columns are not {', '.join(Row._fields)}")
    found: dict[tuple[str, int], list[Row]] = {}
    for number, line in enumerate(lines[1:], 2):
        try:
            of, arm, seed, skill, examples, base, after = line
            row = Row(of, arm, int(seed), skill, int(examples), float(base), float(after))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        if row.form != form:
            raise ValueError(
                f"{path}, line {number}: of the form {row.form!r}, not of {form!r}; no run of it can be reused"
            )
        found.setdefault((row.arm, row.seed), []).append(row)
    runs: Runs = {}
    for (name, of_seed), rows in found.items():
        examples_of = {row.skill: row.examples for row in rows}
        base_of, after_of = {row.skill: row.base for row in rows}, {row.skill: row.after for row in rows}
        runs.setdefault(name, {})[of_seed] = ArmRun(name, of_seed, examples_of, base_of, after_of, {})
        if lacking := {*KEPT, *LEARNT} - examples_of.keys():
            raise ValueError(f"{path} lacks {', '.join(sorted(lacking))} of {name}, seed {of_seed}: it was cut off")
    return runs


def joined(known: Runs, runs: Runs) -> Runs:
    """Both; a seed that was run is taken from its run.

    Raises:
        ValueError: they were not measured on the same examples of the same base model.
    """
    of = [run for by_seed in (*known.values(), *runs.values()) for run in by_seed.values()]
    for run in of[1:]:
        other = {skill for skill in of[0].base.keys() | run.base.keys() if _differs(of[0], run, skill)}
        if other:
            raise ValueError(
                f"the scores of earlier runs cannot be compared with: {of[0].arm}, seed {of[0].seed}, and"
                f" {run.arm}, seed {run.seed}, have other examples or another base model in {', '.join(sorted(other))}"
            )
    both = {arm.name: {**known.get(arm.name, {}), **runs.get(arm.name, {})} for arm in ARMS}
    return {arm: by_seed for arm, by_seed in both.items() if by_seed}


def _differs(one: ArmRun, other: ArmRun, skill: str) -> bool:
    if one.examples.get(skill) != other.examples.get(skill):
        return True
    return abs(one.base[skill] - other.base[skill]) > SAME_BASE
