"""Where to look in MLflow: addresses of the pages that answer something.

MLflow 3 opens on its pages for agents, where an experiment starts with an empty overview and its side bar has no runs. The
addresses ask for the pages of training runs (`workflowType`), which the browser then keeps to.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from recap.runs.provenance import without_passwords


def is_server(uri: str) -> bool:
    """Whether MLflow is a server, with pages of its own; a database is shown by `recap ui`."""
    return urlsplit(uri).scheme in ("http", "https")


def base_of(uri: str) -> str:
    """The address of a server's pages, to be shown: without a password."""
    return without_passwords(uri).rstrip("/")


TRAINING = "workflowType=machine_learning"


def runs_page(base: str, experiment_id: str) -> str:
    """The table of an experiment's runs; a click from their charts."""
    return f"{_runs(base, experiment_id)}?{TRAINING}"


def charts_page(base: str, experiment_id: str, run_id: str) -> str:
    """All metrics of a run over its steps."""
    return f"{_runs(base, experiment_id)}/{run_id}/model-metrics?{TRAINING}"


def artifact_page(base: str, experiment_id: str, run_id: str, path: str) -> str:
    """A file of a run; tables are shown as tables."""
    return f"{_runs(base, experiment_id)}/{run_id}/artifacts/{quote(path)}?{TRAINING}"


def traces_page(base: str, experiment_id: str) -> str:
    """Sampled completions one by one: picture, prompt, completion, rewards."""
    return f"{base}/#/experiments/{experiment_id}/traces?startTimeLabel=ALL&{TRAINING}"


def run_traces_page(base: str, experiment_id: str, run_id: str) -> str:
    """The same of one run; what it forgot at its last evaluation comes first."""
    return f"{_runs(base, experiment_id)}/{run_id}/traces?{TRAINING}"


def comparison_page(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """Runs side by side: parameters, metrics, tags."""
    runs, experiments = (
        quote(json.dumps(list(ids), separators=(",", ":")), safe=",") for ids in (run_ids, [experiment_id])
    )
    return f"{base}/#/compare-runs?runs={runs}&experiments={experiments}&{TRAINING}"


def _runs(base: str, experiment_id: str) -> str:
    return f"{base}/#/experiments/{experiment_id}/runs"
