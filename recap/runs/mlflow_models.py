"""The base model and the checkpoints of a run as MLflow's logged models, without their weights: what each of them can do.

MLflow's page "Models" is then a table of the capability scores, a row for every model and held-out data set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypedDict

MEASURES = ("capability", "retention", "forgotten", "gained")  # of the run's metrics, those that are about one data set
INDEX = "forgetting_index"  # over all of them
STEP, STATE = "recap.step", "recap.checkpoint"  # tags


class ModelEntry(TypedDict):
    """A model, in the queue.

    Attributes:
        step: that it was trained for; 0: the base model.
        params: what is said of it.
        kept: steps whose checkpoints are there now.
    """

    step: int
    params: dict[str, str]
    kept: list[int]


def send_model(client: Any, run_id: str, entry: ModelEntry) -> None:
    """Logs a model with the scores that the run has of its step, and marks models whose checkpoints are gone.

    Sending it again changes nothing: the model is found by its run and step, and its metrics are those of the run, with their
    times.
    """
    from mlflow.entities import LoggedModelOutput

    run = client.get_run(run_id)
    step, experiment_id = entry["step"], run.info.experiment_id
    model = _find(client, experiment_id, run_id, step)
    if model is None:
        label = f"step-{step:06d}" if step else "base"
        model = client.create_logged_model(
            experiment_id,
            name=re.sub(r"[/:.%\"']", "-", f"{run.info.run_name}-{label}"),
            source_run_id=run_id,
            params=entry["params"],
            tags={STEP: str(step)},
            model_type="checkpoint" if step else "base model",
        )
    client.finalize_logged_model(model.model_id, "READY")
    if model.model_id not in {output.model_id for output in run.outputs.model_outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step)])
    _send_scores(client, run, step, model)
    _mark(client, experiment_id, run_id, model, entry["kept"])


def _find(client: Any, experiment_id: str, run_id: str, step: int) -> Any | None:
    found = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}' AND tags.`{STEP}` = '{step}'")
    return found[0] if found else None


def _send_scores(client: Any, run: Any, step: int, model: Any) -> None:
    from mlflow.entities import Metric

    run_id, data_sets = run.info.run_id, _held_out(run)
    there = {(metric.key, metric.step) for metric in model.metrics or ()}
    newest = {point.key: point for point in run.data.to_proto().metrics}
    names = [name for name in newest if name == INDEX or name.partition("/")[0] in MEASURES]
    metrics = []
    for name in names:
        if (name, step) in there or newest[name].step < step:
            continue
        last = newest[name]
        if last.step > step:  # as where another model of the run has been measured since
            points = [point for point in client.get_metric_history(run_id, name) if point.step == step]
            last = max(points, key=lambda point: point.timestamp, default=None)
        if last is not None:
            data_set = data_sets.get(name.partition("/")[2])
            about = {} if data_set is None else {"dataset_name": data_set[0], "dataset_digest": data_set[1]}
            metrics.append(
                Metric(name, last.value, last.timestamp, step, model_id=model.model_id, run_id=run_id, **about)
            )
    if metrics:
        client.log_batch(run_id, metrics=metrics, synchronous=True)


def _held_out(run: Any) -> Mapping[str, tuple[str, str]]:
    """Name and digest of the data sets that the run is measured by, by name of the capability."""
    found = {}
    for one in run.inputs.dataset_inputs:
        if any(tag.key == "mlflow.data.context" and tag.value == "evaluation" for tag in one.tags):
            found[one.dataset.name] = (one.dataset.name, one.dataset.digest)
    return found


def _mark(client: Any, experiment_id: str, run_id: str, model: Any, kept: list[int]) -> None:
    if int(model.tags[STEP]) in kept:
        client.set_logged_model_tags(model.model_id, {STATE: "kept"})
    query = f"source_run_id = '{run_id}' AND tags.`{STATE}` = 'kept'"
    for one in client.search_logged_models([experiment_id], query):
        if int(one.tags[STEP]) not in kept:
            client.set_logged_model_tags(one.model_id, {STATE: "removed"})
