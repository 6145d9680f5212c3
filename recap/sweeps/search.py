"""A search: optuna proposes the points of a sweep, a few at a time, from what came of those before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recap.experiment.run_settings import Tracking
from recap.runs.stored_run import store_of
from recap.sweeps.grid import Point
from recap.sweeps.plan import Child, Plan
from recap.sweeps.runner import Failure, Say
from recap.sweeps.search_axes import SearchAxis, search_axis
from recap.sweeps.sweep import run_sweep

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

MISSING = 'the package optuna is missing: pip install "recap-rlvr[search]"'
SEARCH_FILE, DATABASE = "search.json", "search.db"


@dataclass(frozen=True)
class Search:
    """What is looked for.

    Attributes:
        axes: as they were written.
        metric: of a run, its last value; the mean over seeds is what counts.
        minimise: whether less of it is better.
    """

    axes: tuple[str, ...]
    metric: str
    minimise: bool = False


def run_search(
    search: Search,
    plan: Plan,
    directory: Path,
    trials: int,
    *,
    jobs: int = 1,
    allow_unused: bool = False,
    say: Say = print,
) -> tuple[Study, Sequence[Failure]]:
    """Runs trials until there are so many, or goes on with the search in `directory`. What fails counts as a trial.

    Args:
        plan: what all trials have in common; its points are made here.

    Returns: optuna's study, and the runs that failed.

    Raises:
        ValueError: the package is missing, an axis is none, another search is there, or no run has the metric.
        KeyboardInterrupt: asked to stop; the same again goes on.
    """
    axes = [search_axis(text) for text in search.axes]
    study = _study(search, directory)
    failures: list[Failure] = []
    at_once = max(1, jobs // len(plan.seeds))
    while _ended(study) < trials:
        batch = _batch(study, axes, min(at_once, trials - _ended(study)))
        labels = {trial.number: f"trial-{trial.number}" for trial in batch}
        points = tuple(
            Point(labels[trial.number], tuple(axis.binding(trial.params) for axis in axes)) for trial in batch
        )
        for point in points:
            say(f"{point.label}: {', '.join(point.bindings)}")
        grown = Plan(plan.file, plan.bindings, plan.plugins, points, plan.seeds)
        result = run_sweep(grown, directory, jobs=jobs, allow_unused=allow_unused, say=say)
        failures += result.failures
        for trial in batch:
            runs = [child for child in result.finished if child.point.label == labels[trial.number]]
            _tell(study, trial, runs if len(runs) == len(plan.seeds) else [], search, say)
    return study, failures


def _study(search: Search, directory: Path) -> Study:
    try:
        import optuna
    except ImportError as error:
        raise ValueError(MISSING) from error
    file = directory / SEARCH_FILE
    if file.is_file():
        there = json.loads(file.read_text())
        if Search(tuple(there["axes"]), there["metric"], there["minimise"]) != search:
            raise ValueError(f"{directory}: another search is there; choose another directory")
    else:
        directory.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(search), indent=2))
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # what it says of every trial is said here in a line
    return optuna.create_study(
        storage=f"sqlite:///{directory / DATABASE}",
        study_name="search",
        direction="minimize" if search.minimise else "maximize",
        sampler=optuna.samplers.TPESampler(seed=0, constant_liar=True),  # trials that run side by side do not crowd
        load_if_exists=True,
    )


def _ended(study: Study) -> int:
    return sum(trial.state.is_finished() for trial in study.trials)


def _batch(study: Study, axes: Sequence[SearchAxis], count: int) -> list[FrozenTrial]:
    """Trials that a stop left behind, then new ones."""
    waiting = [trial for trial in study.trials if not trial.state.is_finished()][:count]
    asked = [study.ask({axis.name: axis.distribution() for axis in axes}).number for _ in range(count - len(waiting))]
    return waiting + [study.trials[number] for number in asked]


def _tell(study: Study, trial: FrozenTrial, runs: Sequence[Child], search: Search, say: Say) -> None:
    from optuna.trial import TrialState

    if not runs:
        study.tell(trial.number, state=TrialState.FAIL)
        say(f"trial-{trial.number}: failed")
        return
    value = float(np.mean([_measured(run.directory, search.metric) for run in runs]))
    study.tell(trial.number, value)
    say(f"trial-{trial.number}: {search.metric} = {value:.6g}; best so far {study.best_value:.6g}")


def _measured(directory: Path, metric: str) -> float:
    store = store_of(directory, Tracking())
    metrics = store.client().get_run(store.run_id).data.metrics if store else {}
    if metric not in metrics:
        known = ", ".join(sorted(name for name in metrics if name.startswith("capability/"))) or "none of capabilities"
        raise ValueError(f"{directory} has no metric {metric!r} in MLflow; it has {known}, and others")
    return float(metrics[metric])
