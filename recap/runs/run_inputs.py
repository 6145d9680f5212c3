"""The data of a run as MLflow's data sets: what it trains on, and what it is measured by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from recap.data.domains import Domain
from recap.evaluation.capabilities import Capability
from recap.experiment.experiment import Experiment
from registry.replay.digests import digest, file_digest, settings_of


class RunInput(TypedDict):
    """One data set: JSON, so that it waits in the queue like everything else."""

    name: str
    digest: str
    kind: str
    source: str
    profile: str
    context: Literal["training", "evaluation"]


def run_inputs(experiment: Experiment) -> list[RunInput]:
    """A data set for every domain and capability; no example is read."""
    trained = [_input(domain, "training", None) for domain in experiment.domains]
    return trained + [_input(held, "evaluation", held.examples) for held in experiment.capabilities]


def send_inputs(client: Any, run_id: str, inputs: Sequence[RunInput]) -> None:
    """Logs them; those that the run has already stay as they are."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    datasets = [
        DatasetInput(
            Dataset(one["name"], one["digest"], one["kind"], one["source"], profile=one["profile"]),
            [InputTag("mlflow.data.context", one["context"])],
        )
        for one in inputs
    ]
    if datasets:
        client.log_inputs(run_id, datasets=datasets)


def _input(part: Domain | Capability, context: Literal["training", "evaluation"], most: int | None) -> RunInput:
    source = part.source
    origins = list(source.origins)
    length = source.length if source.is_open and source.at_hand else None
    examples = most if length is None else min(length, most or length)
    settings = settings_of(source)
    return {
        "name": part.name,
        "digest": digest(settings, _contents(origins)),
        "kind": type(source).__name__,
        "source": json.dumps({"origins": origins, "settings": settings}, default=str)[:60_000],
        "profile": json.dumps({"examples": examples} if examples is not None else {}),
        "context": context,
    }


def _contents(origins: Sequence[str]) -> list[str]:
    """Digests of the files among the origins: the same name with other rows is other data."""
    found = []
    for origin in origins:
        try:
            path = Path(origin)
            found.append(file_digest(path) if path.is_file() else origin)
        except OSError:
            found.append(origin)
    return found
