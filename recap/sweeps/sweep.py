"""A sweep from start to end: its plan, its runs, the MLflow run that holds them, and the table of what came out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rich.table import Table

from recap.evaluation.comparable import Group, check_comparable
from recap.evaluation.comparison import compare
from recap.evaluation.comparison_report import levels_table
from recap.experiment.run_settings import Tracking
from recap.runs.measured import read_run
from recap.runs.mlflow_store import connect, start_run
from recap.runs.outcomes import FOLDER
from recap.runs.provenance import environment
from recap.sweeps.plan import Child, Plan, check_points, read_plan
from recap.sweeps.runner import Failure, Runner, Say


@dataclass(frozen=True)
class Result:
    """What came of a sweep.

    Attributes:
        children: all runs.
        finished: those that have taken all of their steps.
        failures: those that did not end well.
    """

    children: Sequence[Child]
    finished: Sequence[Child]
    failures: Sequence[Failure]


def run_sweep(
    plan: Plan | None, directory: Path, *, jobs: int = 1, allow_unused: bool = False, say: Say = print
) -> Result:
    """Runs a new sweep, or goes on with the one in `directory`.

    Args:
        plan: None: the one that is there. With points or seeds that it has not, those are run, and it has them from then on.
        jobs: runs at a time.

    Raises:
        ValueError: a point that is no valid experiment, an MLflow that cannot be used, another sweep there; nothing was
            started.
        KeyboardInterrupt: asked to stop; the same again goes on.
    """
    plan = _planned(plan, directory)
    experiments = check_points(plan, allow_unused)
    tracking = experiments[plan.points[0].label].tracking
    if plan.parent is None:
        about = {"environment.json": json.dumps(environment(), indent=2)}
        plan = replace(plan, parent=start_run(tracking, f"sweep of {Path(plan.file).stem}", about))
        plan.write(directory)
    else:
        with suppress(Exception):
            connect(tracking.resolved_uri).update_run(plan.parent, status="RUNNING")
    children = plan.children(directory)
    left = [child for child in children if not child.finished(experiments[child.point.label].steps)]
    if len(left) < len(children):
        say(f"{len(children) - len(left)} of {len(children)} runs are finished")
    tags = {**tracking.tags, "mlflow.parentRunId": str(plan.parent), "sweep": directory.name}
    status = "FAILED"
    try:
        failures = Runner(plan, tags, jobs, allow_unused, say).run(left)
        status = "FAILED" if failures else "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        _close(tracking, str(plan.parent), status)
    finished = [child for child in children if child.finished(experiments[child.point.label].steps)]
    return Result(children, finished, failures)


def table(children: Sequence[Child]) -> tuple[Table | None, list[str]]:
    """Scores of the finished runs by point, means over seeds with their t intervals; and what is to be said of them.

    Returns: None where nothing was measured, or what was cannot be compared; the lines say why.
    """
    runs, notes = {}, []
    for child in children:
        try:
            runs[child] = read_run(child.directory / FOLDER, str(child.directory))
        except ValueError as error:
            notes.append(str(error))
    groups: dict[str, Group] = {}
    for child, run in runs.items():
        groups.setdefault(child.point.label, {})[child.seed] = run
    if not groups:
        return None, notes
    try:
        notes += check_comparable(list(runs.values()))
        return levels_table(compare(groups, next(iter(groups)))), notes
    except ValueError as error:
        return None, [*notes, f"not compared: {error}"]


def _planned(plan: Plan | None, directory: Path) -> Plan:
    try:
        there = read_plan(directory)
    except ValueError:
        if plan is None:
            raise
        return plan
    if plan is None:
        return there
    points = {point.label: point for point in there.points}
    if _what(plan) != _what(there) or any(points.get(point.label, point) != point for point in plan.points):
        raise ValueError(
            f"{directory}: another sweep is there; choose another directory, or go on with it: --resume {directory}"
        )
    points |= {point.label: point for point in plan.points}
    seeds = tuple(dict.fromkeys((*there.seeds, *plan.seeds)))
    replace(there, seeds=seeds, points=tuple(points.values())).write(directory)
    return replace(plan, parent=there.parent)


def _what(plan: Plan) -> Mapping[str, object]:
    """All but points and seeds: a sweep may be given more of them."""
    return {**vars(plan), "parent": None, "points": (), "seeds": ()}


def _close(tracking: Tracking, run_id: str, status: str) -> None:
    with suppress(Exception):  # the runs are there, whatever MLflow says
        connect(tracking.resolved_uri).set_terminated(run_id, status=status)
