"""Measured runs: outcomes found in run directories and in MLflow, for `recap compare`."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from recap.evaluation.comparable import MeasuredRun
from recap.evaluation.outcomes import read_outcomes
from recap.experiment.run_settings import Tracking
from recap.runs.errors import first_line
from recap.runs.mlflow_store import SQLITE, connect, find_run
from recap.runs.outcomes import FOLDER
from recap.runs.run_folders import run_directories

RUN_ID = re.compile(r"[0-9a-f]{32}")


def measured_runs(
    runs: Sequence[str],
    *,
    query: str | None = None,
    experiment: str | None = None,
    uri: str | None = None,
    step: int | None = None,
) -> list[MeasuredRun]:
    """The runs that are named, each once.

    Args:
        runs: run directories (or a checkpoint in one), folders with runs in them as of a sweep, and ids of MLflow.
        query: a filter of MLflow's, e.g. ``params.reweighting = 'Recap'``; its runs come after those that are named.
        experiment: MLflow's, by name, in which the filter looks; None: all of them.
        uri: MLflow's; None: as in `Tracking`.
        step: whose outcomes; None: the last ones of each run.

    Raises:
        ValueError: a run that is not there or has no outcomes, or a filter that MLflow does not understand.
    """
    settings = Tracking(uri=uri)
    found: dict[str, MeasuredRun] = {}
    for name in runs:
        if Path(name).exists():
            for directory in run_directories(Path(name)):
                found[str(directory.resolve())] = read_run(directory / FOLDER, str(directory), step)
        elif RUN_ID.fullmatch(name):
            found[name] = _download(settings, name, step)
        else:
            raise ValueError(f"{name}: neither a directory that is there nor a run id of MLflow")
    if query is not None:
        for run_id in search(settings, query, experiment):
            found.setdefault(run_id, _download(settings, run_id, step))
    if not found:
        raise ValueError("no runs to compare: name run directories or MLflow run ids, or give --filter")
    return list(found.values())


def read_run(folder: Path, name: str, step: int | None = None) -> MeasuredRun:
    """A run from its folder of outcomes.

    Args:
        name: how messages name the run.

    Raises:
        ValueError: no outcomes there, or not those that are needed.
    """
    files = {int(file.stem.removeprefix("step-")): file for file in sorted(folder.glob("step-*.parquet"))}
    if not files:
        raise ValueError(f"{name}: no outcomes there (no {FOLDER}/step-*.parquet): it has not evaluated any capability")
    last = max(files) if step is None else step
    for needed, what in ((0, "before the first step"), (last, f"at step {last}")):
        if needed not in files:
            raise ValueError(f"{name}: not evaluated {what}; its outcomes are of steps {', '.join(map(str, files))}")
    base, _ = read_outcomes(files[0])
    after, about = read_outcomes(files[last])
    return MeasuredRun(name, about, last, base, after)


def _download(settings: Tracking, run_id: str, step: int | None) -> MeasuredRun:
    with downloaded(settings, run_id) as folder:
        return read_run(folder, f"MLflow run {run_id}", step)


@contextmanager
def downloaded(settings: Tracking, run_id: str) -> Iterator[Path]:
    """A folder with the outcomes of a run in MLflow, while it lasts; not there where the run has none.

    Raises:
        ValueError: no such run, or no MLflow.
    """
    find_run(settings, run_id)
    with tempfile.TemporaryDirectory() as folder:
        client = connect(settings.resolved_uri)
        if client.list_artifacts(run_id, FOLDER):
            client.download_artifacts(run_id, FOLDER, folder)
        yield Path(folder) / FOLDER


def search(settings: Tracking, query: str, experiment: str | None) -> list[str]:
    """Ids of the runs that a filter of MLflow's finds, oldest first.

    Args:
        experiment: MLflow's, by name; None: all of them.

    Raises:
        ValueError: a filter that MLflow does not understand, or one that finds nothing.
    """
    from mlflow.exceptions import MlflowException

    store = settings.resolved_uri
    if store.startswith(SQLITE) and not Path(store.removeprefix(SQLITE)).is_file():  # MLflow would make it
        raise ValueError(f"{store}: no database there; name another with --uri or MLFLOW_TRACKING_URI")
    try:
        client = connect(store)
        experiments = {found.name: found.experiment_id for found in client.search_experiments()}
    except Exception as error:
        raise ValueError(f"{store}: MLflow cannot be read ({first_line(error)}); name another with --uri") from error
    if experiment is not None and experiment not in experiments:
        raise ValueError(
            f"MLflow at {settings.resolved_uri} has no experiment {experiment!r}; it has {', '.join(experiments)}"
        )
    ids = list(experiments.values()) if experiment is None else [experiments[experiment]]
    try:
        runs = client.search_runs(ids, query)
    except MlflowException as error:
        raise ValueError(f"--filter {query!r}: {error.message}") from error
    if not runs:
        raise ValueError(f"--filter {query!r} finds no run in MLflow at {settings.resolved_uri}")
    return [run.info.run_id for run in reversed(runs)]
