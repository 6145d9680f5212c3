"""Runs as a report needs them: what came of every example at every evaluation, and the metrics of every step."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recap.evaluation.outcomes import Outcomes, read_outcomes
from recap.experiment.run_settings import Tracking
from recap.report.series import Series, read_series
from recap.runs.interpolation import read_interpolation
from recap.runs.measured import RUN_ID, downloaded, search
from recap.runs.outcomes import FOLDER
from recap.runs.run_directory import former_config
from recap.runs.run_folders import run_directories
from recap.runs.stored_run import Store, store_of


@dataclass(frozen=True)
class ReportedRun:
    """One run.

    Attributes:
        name: how the report calls it.
        about: what it is (`recap.runs.outcomes.about_run`); of a run without outcomes as much as is known.
        outcomes: step -> what came of the held-out examples.
        series: metric -> step -> value.
        directory: None of a run that is in MLflow alone.
        store: where it is in MLflow; None where it is not known.
        mixtures: α -> what came of the held-out examples of (1 − α) base + α trained.
        lacking: what is not here, and why.
    """

    name: str
    about: Mapping[str, Any]
    outcomes: Mapping[int, Outcomes]
    series: Series
    directory: Path | None = None
    store: Store | None = None
    mixtures: Mapping[float, Outcomes] = field(default_factory=dict)
    lacking: tuple[str, ...] = ()


def reported_runs(
    names: Sequence[str], *, query: str | None = None, experiment: str | None = None, uri: str | None = None
) -> list[ReportedRun]:
    """The runs that are named, each once.

    Args:
        names: run directories, folders with run directories in them, ids of MLflow.
        query, experiment, uri: as in `recap.runs.measured.measured_runs`.

    Raises:
        ValueError: nothing there, or no run in it.
    """
    settings = Tracking(uri=uri)
    found: dict[str, ReportedRun] = {}
    for name in names:
        if Path(name).exists():
            for directory in run_directories(Path(name)):
                key = str(directory.resolve())
                if key not in found:
                    found[key] = _in_directory(directory, settings)
        elif RUN_ID.fullmatch(name):
            found.setdefault(name, _in_mlflow(name, settings))
        else:
            raise ValueError(f"{name}: neither a directory that is there nor a run id of MLflow")
    for run_id in search(settings, query, experiment) if query is not None else ():
        found.setdefault(run_id, _in_mlflow(run_id, settings))
    if not found:
        raise ValueError("no runs to report: name run directories or MLflow run ids, or give --filter")
    return list(found.values())


def _in_directory(directory: Path, settings: Tracking) -> ReportedRun:
    store = store_of(directory, settings)
    series, lacking = read_series(store, directory)
    outcomes, about = _outcomes(directory / FOLDER)
    if not outcomes:
        lacking.append("it kept no outcomes of single examples: its scores are those that it logged")
        about = _told_by(former_config(directory), directory.name, store)
    return ReportedRun(
        name=str(directory),
        about=about,
        outcomes=outcomes,
        series=series,
        directory=directory.absolute(),
        store=store,
        mixtures=read_interpolation(directory),
        lacking=tuple(lacking),
    )


def _in_mlflow(run_id: str, settings: Tracking) -> ReportedRun:
    store = Store(settings.resolved_uri, run_id)
    with downloaded(settings, run_id) as folder:
        outcomes, about = _outcomes(folder)
    series, lacking = read_series(store, None)
    if not outcomes:
        lacking.append("it kept no outcomes of single examples: its scores are those that it logged")
        about = _told_by("", run_id, store)
    return ReportedRun(f"MLflow run {run_id}", about, outcomes, series, store=store, lacking=tuple(lacking))


def _outcomes(folder: Path) -> tuple[dict[int, Outcomes], dict[str, Any]]:
    """Of all evaluations, and what the last file says of the run."""
    found: dict[int, Outcomes] = {}
    about: dict[str, Any] = {}
    for file in sorted(folder.glob("step-*.parquet")):
        found[int(file.stem.removeprefix("step-"))], about = read_outcomes(file)
    return found, about


def _told_by(configuration: str, name: str, store: Store | None) -> dict[str, Any]:
    """What a run is, from its configuration and from MLflow: policy, seed, domains."""
    parameters = store.parameters() if store else {}
    policy = re.search(r"^train\.reweighting = @reweighting\.(\w+)", configuration, re.MULTILINE)
    seed = re.search(r"^train\.seed = (\d+)", configuration, re.MULTILINE)
    named = policy[1] if policy else "policy not known"
    settings = {"reweighting": named, "domains": "", **parameters}
    return {
        "run": name,
        "seed": int(seed[1] if seed else settings.get("seed", 0)),
        "model": "",
        "settings": settings,
        "configuration": configuration,
        "capabilities": {},
    }
