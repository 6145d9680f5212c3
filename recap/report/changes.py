"""What became of every capability: changes with their intervals, curves, and gain against forgetting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recap.evaluation.comparison import Contrast
from recap.evaluation.forgetting import forgetting_index, kept_share, measures
from recap.evaluation.outcomes import Outcomes
from recap.evaluation.paired import paired
from recap.evaluation.score_table import matched_tables, score_table
from recap.evaluation.scores import score_of
from recap.evaluation.statistics import Interval, t_interval
from recap.report.cohort import Cohort
from recap.report.gather import ReportedRun

Basis = Literal["seeds", "examples", "scores"]
"""What an interval is over: seeds; the examples of one seed; or, of one seed without outcomes, standard errors taken as those
of other examples."""


@dataclass(frozen=True)
class Change:
    """One capability of one group against the base, or against another group.

    Attributes:
        before, after: mean scores; of a difference those of the other group and of this one.
        mean: after − before.
        interval: of 95 %.
        basis: what it is over.
        by_seed: the change of every seed.
        p_holm: adjusted for all changes of the report; NaN of one seed.
    """

    group: str
    capability: str
    before: float
    after: float
    mean: float
    interval: Interval
    basis: Basis
    by_seed: Sequence[float]
    p_holm: float = math.nan

    @property
    def sign(self) -> int:
        """−1 or 1 where the interval leaves out 0; else 0."""
        return 1 if self.interval.low > 0 else -1 if self.interval.high < 0 else 0


def changes_of(cohort: Cohort) -> list[Change]:
    """Every group against the base model."""
    found = []
    contrasts = {(c.group, c.capability): c for c in cohort.comparison.changes} if cohort.comparison else {}
    for label, runs in cohort.groups.items():
        for name in capabilities_of(runs):
            with_outcomes = [run for run in runs if name in run.outcomes.get(0, {}) and (label, name) in contrasts]
            if with_outcomes:
                found.append(_by_outcomes(contrasts[label, name], with_outcomes))
            elif scored := [run for run in runs if _has_both_ends(score_curve(run, name))]:
                found.append(_by_scores(label, name, scored))
    return found


def differences_of(cohort: Cohort) -> list[Change]:
    """Every other group against the first, over the seeds that both have."""
    if cohort.comparison is None:
        return []
    found = []
    runs = {label: {int(run.about["seed"]): run for run in group} for label, group in cohort.groups.items()}
    baseline = cohort.comparison.baseline
    for contrast in cohort.comparison.differences:
        seeds = sorted(contrast.within)
        pairs = [(runs[contrast.group][seed], runs[baseline][seed]) for seed in seeds]
        tables = [[score_table(last(run)[contrast.capability]) for run in pair] for pair in pairs]
        ours, theirs = (float(np.mean([pair[n].means().mean() for pair in tables])) for n in (0, 1))
        by_seed = [paired(*pair) for pair in tables]
        interval, basis = _interval(contrast, by_seed[0].mean, by_seed[0].half)
        means = [pair.mean for pair in by_seed]
        found.append(
            Change(
                contrast.group,
                contrast.capability,
                theirs,
                ours,
                contrast.difference.mean,
                interval,
                basis,
                means,
                contrast.difference.p_holm,
            )
        )
    return found


def _by_outcomes(contrast: Contrast, runs: Sequence[ReportedRun]) -> Change:
    tables = [[score_table(rows[contrast.capability]) for rows in (last(run), run.outcomes[0])] for run in runs]
    by_seed = [paired(*pair) for pair in tables]
    interval, basis = _interval(contrast, by_seed[0].mean, by_seed[0].half)
    after, before = (float(np.mean([pair[n].means().mean() for pair in tables])) for n in (0, 1))
    means = [pair.mean for pair in by_seed]
    mean = contrast.difference.mean
    p_holm = contrast.difference.p_holm
    return Change(contrast.group, contrast.capability, before, after, mean, interval, basis, means, p_holm)


def _interval(contrast: Contrast, mean: float, half: float) -> tuple[Interval, Basis]:
    if contrast.difference.seeds > 1:
        return contrast.difference.interval, "seeds"
    return Interval(mean - half, mean + half), "examples"


def _has_both_ends(curve: Mapping[int, float]) -> bool:
    return 0 in curve and len(curve) > 1


def _by_scores(label: str, name: str, runs: Sequence[ReportedRun]) -> Change:
    """From the scores that were logged; of one seed as if the examples before and after were others, which is too wide."""
    curves = [score_curve(run, name) for run in runs]
    ends = np.array([[curve[min(curve)], curve[max(curve)]] for curve in curves])
    by_seed = ends[:, 1] - ends[:, 0]
    interval, basis = t_interval(by_seed), "seeds"
    if len(runs) == 1:
        errors = runs[0].series.get(f"capability_standard_error/{name}", {})
        half = 1.96 * math.hypot(*(errors.get(step, math.nan) for step in (min(curves[0]), max(curves[0]))))
        interval, basis = Interval(by_seed[0] - half, by_seed[0] + half), "scores"
    before, after = map(float, ends.mean(0))
    return Change(label, name, before, after, after - before, interval, basis, list(map(float, by_seed)))  # type: ignore[arg-type]


def last(run: ReportedRun) -> Outcomes:
    """What came of the examples at the last evaluation."""
    return run.outcomes[max(run.outcomes)]


def capabilities_of(runs: Sequence[ReportedRun]) -> list[str]:
    """All that were measured, in the order in which the first run has them."""
    names: dict[str, None] = {}
    for run in runs:
        for rows in run.outcomes.values():
            names |= dict.fromkeys(rows)
        if not run.outcomes:
            logged = (name.partition("/") for name in run.series)
            names |= dict.fromkeys(rest for head, _, rest in logged if head == "capability")
    return list(names)


LOGGED = {"score": "capability", "formatted": "capability_formatted", "tokens": "capability_tokens"}


def score_curve(run: ReportedRun, name: str, what: str = "score") -> dict[int, float]:
    """Step -> score of one capability (or ``'formatted'``, ``'tokens'``): of the outcomes, else as it was logged."""
    if run.outcomes:
        steps = sorted(run.outcomes.items())
        return {step: float(getattr(score_of(rows[name]), what)) for step, rows in steps if name in rows}
    return dict(sorted(run.series.get(f"{LOGGED[what]}/{name}", {}).items()))


def traded(base: Outcomes, now: Outcomes) -> tuple[float, float]:
    """Forgetting index, and gain: the mean over capabilities of the rise of the score, 0 where it fell."""
    retentions, gains = [], []
    for _, before, after in matched_tables(base, now):
        retentions.append(kept_share(measures(before.scores, after.scores, before.chance)))
        gains.append(max(0.0, float(after.scores.mean() - before.scores.mean())))
    return forgetting_index(retentions), float(np.mean(gains)) if gains else math.nan


def frontier(run: ReportedRun) -> dict[int, tuple[float, float]]:
    """Step -> what was forgotten and what was gained since the base; empty without outcomes."""
    base = run.outcomes.get(0)
    return {} if base is None else {step: traded(base, rows) for step, rows in sorted(run.outcomes.items())}


def mixture_frontier(run: ReportedRun) -> dict[float, tuple[float, float]]:
    """α -> the same of the mixtures of base and trained weights."""
    base: Mapping[str, list] | None = run.mixtures.get(0.0) or run.outcomes.get(0)  # type: ignore[type-arg]
    return {} if not base else {alpha: traded(dict(base), rows) for alpha, rows in sorted(run.mixtures.items())}
