"""The runs of the study: one sweep for each arm, over the same seeds, and what the tables need of each run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recap.evaluation.comparable import MeasuredRun, check_comparable
from recap.evaluation.score_table import score_table
from recap.experiment.run_settings import Tracking
from recap.report.series import Series, read_series
from recap.runs.measured import read_run
from recap.runs.outcomes import FOLDER
from recap.runs.stored_run import store_of
from recap.studies.laptop.arms import Arm, Form
from recap.sweeps.grid import Point
from recap.sweeps.plan import Plan
from recap.sweeps.runner import Failure, Say
from recap.sweeps.sweep import run_sweep
from registry.shipped import located


@dataclass(frozen=True)
class ArmRun:
    """What the tables need of one run.

    Attributes:
        examples: skill -> how many it is measured on.
        base, after: skill -> its mean strict score before the first step, and after the last.
        series: metric -> step -> value; of a run that only left its scores nothing.
        drift: ``KIND/DIRECTION``, as in the metrics, -> nats per token after the last step; nothing where it was not measured.
    """

    arm: str
    seed: int
    examples: Mapping[str, int]
    base: Mapping[str, float]
    after: Mapping[str, float]
    series: Series
    drift: Mapping[str, float] = field(default_factory=dict)


Runs = dict[str, dict[int, ArmRun]]
"""Arm -> seed -> run."""


def run_arm(arm: Arm, form: Form, of: Sequence[int], output: Path, jobs: int, say: Say) -> Sequence[Failure]:
    """Runs what is not finished of these seeds of one arm.

    Raises:
        ValueError: another sweep is in its folder.
        KeyboardInterrupt: asked to stop; the same again goes on.
    """
    record = () if arm.replays is None else (f"RECORD = {str(point_folder(output, arm.replays).resolve())!r}",)
    plan = Plan(
        file=str(located(arm.file).resolve()),
        bindings=(*form.bindings, *record),
        plugins=(),
        points=(Point(arm.name, ()),),
        seeds=tuple(of),
    )
    # An arm without RECAP has no window for the short form's to be bound to.
    return run_sweep(plan, output / arm.name, jobs=jobs, allow_unused=True, say=say).failures


def point_folder(output: Path, arm: str) -> Path:
    """The folder that holds an arm's runs ``seed-0``, ``seed-1``, ..."""
    return output / arm / arm


def read_arms(arms: Sequence[Arm], output: Path) -> tuple[Runs, list[str]]:
    """All runs with an evaluation after the base's, which the recipe makes at the end; and why others cannot be compared."""
    first: MeasuredRun | None = None
    found: Runs = {}
    left_out: list[str] = []
    for arm, directory in _directories(arms, output):
        try:
            measured = read_run(directory / FOLDER, str(directory))
            first = first or measured
            check_comparable([first, measured])
        except ValueError as error:
            left_out.append(str(error))
            continue
        found.setdefault(arm.name, {})[measured.seed] = _reduced(arm, measured, directory)
    return found, left_out


def _directories(arms: Sequence[Arm], output: Path) -> Iterator[tuple[Arm, Path]]:
    for arm in arms:
        for directory in sorted(point_folder(output, arm.name).glob("seed-*/")):
            if len(list((directory / FOLDER).glob("step-*.parquet"))) > 1:  # else it is still under way
                yield arm, directory


def _reduced(arm: Arm, run: MeasuredRun, directory: Path) -> ArmRun:
    """Without completions and questions: those of two hundred runs would fill the memory."""
    before = {skill: score_table(rows).means() for skill, rows in run.base.items()}
    after = {skill: float(score_table(rows).means().mean()) for skill, rows in run.after.items()}
    series, _ = read_series(store_of(directory, Tracking()), directory)
    examples = {skill: len(scores) for skill, scores in before.items()}
    base = {skill: float(one.mean()) for skill, one in before.items()}
    drift = {
        f"{kind}/{direction}": float(estimate["mean"])
        for kind, directions in run.about.get("drift", {}).items()
        for direction, estimate in directions.items()
    }
    return ArmRun(arm.name, run.seed, examples, base, after, series, drift)
