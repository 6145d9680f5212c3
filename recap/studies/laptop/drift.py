"""How far the arms moved from the base model, and which measure of that goes with what was forgotten.

RL's Razor (arXiv 2509.04259) has forgetting follow KL(base‖model) on the prompts of the new task; here there are both
directions on three kinds of prompts, with replay present.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from recap.evaluation.statistics import Interval, t_interval
from recap.studies.laptop.arms import KEPT
from recap.studies.laptop.endpoint import mean_score
from recap.studies.laptop.runs import ArmRun, Runs

FEWEST = 4
"""Runs that a rank correlation is said of."""


@dataclass(frozen=True)
class Prediction:
    """How drift by one measure goes with forgetting: what `KEPT` has lost since the base.

    Attributes:
        runs: how many.
        rho: Spearman's, over all runs: 1 where more drift is always more forgotten.
        p: that it is 0, as if runs were independent; those of an arm are not.
        within: Spearman's after the mean of each arm is taken off both: whether it tells runs of one arm apart.
    """

    runs: int
    rho: float
    p: float
    within: float


def drift_levels(runs: Runs) -> dict[str, dict[str, tuple[float, Interval]]]:
    """Arm -> measure -> mean over seeds and its 95 % interval by t, in nats per token; of arms that measured it."""
    found: dict[str, dict[str, tuple[float, Interval]]] = {}
    for arm, by_seed in runs.items():
        for measure in measures(list(by_seed.values())):
            values = np.array([run.drift[measure] for run in by_seed.values()])
            found.setdefault(arm, {})[measure] = (float(values.mean()), t_interval(values))
    return found


def predictions(runs: Runs) -> dict[str, Prediction]:
    """Measure -> how it goes with forgetting, over all runs; nothing of fewer than `FEWEST`, or where none differs."""
    found = {}
    of = [run for by_seed in runs.values() for run in by_seed.values() if run.drift]
    lost = np.array([mean_score(run, KEPT, base=True) - mean_score(run, KEPT) for run in of])
    arms = np.array([run.arm for run in of])
    for measure in measures(of) if len(of) >= FEWEST else ():
        drift = np.array([run.drift[measure] for run in of])
        if np.ptp(drift) == 0 or np.ptp(lost) == 0:
            continue
        rho, p = stats.spearmanr(drift, lost)
        own = [values - np.array([values[arms == arm].mean() for arm in arms]) for values in (drift, lost)]
        within = math.nan if any(np.ptp(values) == 0 for values in own) else float(stats.spearmanr(*own).statistic)
        found[measure] = Prediction(len(of), float(rho), float(p), within)
    return found


def measures(runs: Sequence[ArmRun]) -> list[str]:
    """Those that every run has, in the order of the first."""
    return [name for name in runs[0].drift if all(name in run.drift for run in runs)] if runs else []


def write_drift(runs: Runs, path: Path, form: str) -> None:
    """A row for every arm, seed and measure."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("form", "arm", "seed", "measure", "nats"))
        for arm, by_seed in runs.items():
            for seed, run in sorted(by_seed.items()):
                rows.writerows([form, arm, seed, name, f"{nats:.6f}"] for name, nats in run.drift.items())
