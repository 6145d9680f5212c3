"""What the metrics of a run say over its steps: levels at the end, changes, medians."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from recap.studies.laptop.runs import ArmRun, Runs

LATE = 0.25
"""The share of the steps, at the end, over which a training curve is averaged."""


def late(run: ArmRun, metric: str) -> float:
    """Mean over the last quarter of the steps; NaN where it was not logged."""
    values = _in_order(curve(run, metric))
    return float(np.mean(values[-max(1, int(LATE * len(values))) :])) if values else math.nan


def curve(run: ArmRun, metric: str) -> Mapping[int, float]:
    """The metric ``KIND/OBJECTIVE``; where each domain has objectives of its own, ``KIND/DOMAIN/OBJECTIVE``, their mean."""
    if metric in run.series:
        return run.series[metric]
    kind, _, objective = metric.partition("/")
    of_domain = re.compile(f"{re.escape(kind)}/.+/{re.escape(objective)}")
    found = [values for name, values in run.series.items() if of_domain.fullmatch(name)]
    steps = {step for values in found for step in values}
    return {step: float(np.mean([values[step] for values in found if step in values])) for step in steps}


def change_of(run: ArmRun, metric: str) -> float:
    """Mean over the last quarter of the steps minus that over the first tenth."""
    values = _in_order(curve(run, metric))
    return late(run, metric) - float(np.mean(values[: max(1, len(values) // 10)])) if values else math.nan


def median(run: ArmRun, metric: str) -> float:
    values = _in_order(run.series.get(metric, {}))
    return float(np.median(values)) if values else math.nan


def late_weights(runs: Runs) -> dict[str, dict[str, float]]:
    """Arm -> objective -> λ at the end, mean over seeds; of arms that have logged it."""
    found: dict[str, dict[str, float]] = {}
    for arm, by_seed in runs.items():
        of = [run for run in by_seed.values() if run.series]
        names = [name for name in (of[0].series if of else ()) if name.startswith("weight/")]
        for name in names:
            found.setdefault(arm, {})[name.removeprefix("weight/")] = float(np.mean([late(run, name) for run in of]))
    return found


def _in_order(values: Mapping[int, float]) -> list[float]:
    return [values[step] for step in sorted(values) if math.isfinite(values[step])]
