"""The study in MLflow: a run with settings, tables and figures, and a nested run per method."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from recap.experiment.run_settings import Tracking
from recap.runs.mlflow_store import connect, start_run
from recap.runs.provenance import environment, source_tags
from recap.studies.two_task.measures import Interval
from recap.studies.two_task.problem import STARTS
from recap.studies.two_task.study import Outcome, Settings
from recap.studies.two_task.tables import MEASURES, pooled

EXPERIMENT = "recap two-task study"


def log_study(outcomes: Sequence[Outcome], settings: Settings, files: Sequence[Path]) -> str:
    """Logs to the project's usual place (`Tracking`); returns the id of the run that holds the others."""
    from mlflow.entities import Param, RunTag

    tracking = Tracking(experiment=EXPERIMENT)
    described = {"environment.json": json.dumps(environment(), indent=2)}
    run_id = start_run(tracking, f"two-task-{settings.functions}", described)
    client = connect(tracking.resolved_uri)
    params = [Param(name, str(value)) for name, value in asdict(settings).items()]
    client.log_batch(run_id, params=params, tags=[RunTag(name, value) for name, value in source_tags().items()])
    for file in files:
        client.log_artifact(run_id, str(file))
    experiment_id = client.get_run(run_id).info.experiment_id
    for outcome in outcomes:
        _log_outcome(client, experiment_id, run_id, outcome)
    client.set_terminated(run_id, status="FINISHED")
    return run_id


def _log_outcome(client: object, experiment_id: str, parent: str, outcome: Outcome) -> None:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    assert isinstance(client, MlflowClient)
    method = outcome.method
    run = client.create_run(experiment_id, run_name=method.name, tags={"mlflow.parentRunId": parent})
    values: dict[str, float] = {
        "seconds_per_step": outcome.seconds_per_step,
        "weight_spread": outcome.weight_spread,
        "reached": float(np.isfinite(pooled(outcome, "first_step")).mean()),
        "stayed": float(pooled(outcome, "stays").mean()),
    }
    for start, measures in zip(STARTS, outcome.measures, strict=True):
        place = f"{start[0]:g}_{start[1]:g}"
        for name in MEASURES:
            interval = Interval.of(getattr(measures, name))
            values |= {f"{name}/{place}": interval.mean, f"{name}_half_width/{place}": interval.half_width}
        values |= {f"reached/{place}": float(np.isfinite(measures.first_step).mean())}
        values |= {f"stayed/{place}": float(measures.stays.mean())}
    params = {"group": method.group, "part": method.part, "seeds": outcome.seeds, **method.parameters}
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(name, value, run.info.start_time, 0) for name, value in values.items() if math.isfinite(value)],
        params=[Param(name, str(value)) for name, value in params.items()],
    )
    client.set_terminated(run.info.run_id)
