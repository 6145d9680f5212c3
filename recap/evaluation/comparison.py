"""Comparison of groups of runs: each against the base model, and against a baseline over matched seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recap.evaluation.comparable import Group, MeasuredRun, NotComparable, baseline_of
from recap.evaluation.forgetting import RIGHT, forgetting_index, kept_share, measures
from recap.evaluation.score_table import ScoreTable, score_table
from recap.evaluation.scores import clustered_standard_error
from recap.evaluation.statistics import (
    Difference,
    Interval,
    Transitions,
    as_family,
    difference,
    t_interval,
    transitions,
)

Reading = Literal["strict", "lenient", "sampled"]
"""Which score of an example: of the greedy completion, of the same with the answer looked for everywhere, or the mean of
the samples."""


@dataclass(frozen=True)
class Level:
    """How good one group is at one capability.

    Attributes:
        mean: score, over seeds.
        interval: of 95 %, by t over the seeds.
        retention, forgotten, gained: against the base, means over seeds; above chance where there are choices.
    """

    mean: float
    interval: Interval
    retention: float
    forgotten: float
    gained: float


@dataclass(frozen=True)
class Contrast:
    """One group against another, or against the base, in one capability.

    Attributes:
        group, capability: of what.
        difference: over matched seeds.
        within: seed -> what the examples of the other became.
        discordant: mean share of examples that one got right and the other wrong.
    """

    group: str
    capability: str
    difference: Difference
    within: Mapping[int, Transitions]
    discordant: float


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        step: at which all runs were compared.
        seeds: group -> its seeds.
        examples: capability -> how many.
        base: capability -> score and standard error over examples.
        levels: group -> capability -> how good it is.
        index: group -> forgetting index, and its interval over seeds.
        changes: every group against the base.
        baseline: the group that the others are compared with.
        differences: every other group against the baseline, over the seeds that both have.
        margin: of equivalence, where one was given.
    """

    step: int
    seeds: Mapping[str, Sequence[int]]
    examples: Mapping[str, int]
    base: Mapping[str, tuple[float, float]]
    levels: Mapping[str, Mapping[str, Level]]
    index: Mapping[str, tuple[float, Interval]]
    changes: Sequence[Contrast]
    baseline: str
    differences: Sequence[Contrast]
    margin: float | None


@dataclass(frozen=True)
class _Scores:
    """One capability: the examples that every run judged, E of them.

    Attributes:
        table: of the base.
        after: group -> [seeds, E], in the order of `Comparison.seeds`.
    """

    table: ScoreTable
    after: Mapping[str, NDArray[np.float64]]

    @property
    def base(self) -> NDArray[np.float64]:
        return self.table.means()


def compare(
    groups: Mapping[str, Group], baseline: str | None, *, reading: Reading = "strict", margin: float | None = None
) -> Comparison:
    """Compares groups of runs that `check_comparable` found comparable.

    Args:
        baseline: the group that the others are compared with, as `baseline_of` has it.
        margin: differences up to it count as none.

    Raises:
        NotComparable: no such group, or no score of this reading.
    """
    baseline = baseline_of(groups, baseline)
    runs = [run for group in groups.values() for run in group.values()]
    seeds = {label: sorted(group) for label, group in groups.items()}
    scores = {name: _scores(groups, seeds, name, reading) for name in runs[0].after}
    levels = {
        label: {name: _level(found.table, found.after[label]) for name, found in scores.items()} for label in groups
    }
    changes = [
        _contrast(
            label, name, found, seeds[label], found.after[label], np.tile(found.base, (len(seeds[label]), 1)), margin
        )
        for label in groups
        for name, found in scores.items()
    ]
    differences = []
    for label in (label for label in groups if label != baseline):
        both = [seed for seed in seeds[label] if seed in seeds[baseline]]
        if both:
            rows = [[seeds[group].index(seed) for seed in both] for group in (label, baseline)]
            for name, found in scores.items():
                ours, theirs = found.after[label][rows[0]], found.after[baseline][rows[1]]
                differences.append(_contrast(label, name, found, both, ours, theirs, margin))
    return Comparison(
        step=runs[0].step,
        seeds=seeds,
        examples={name: len(found.table.positions) for name, found in scores.items()},
        base={
            name: (float(found.base.mean()), clustered_standard_error(list(found.base), found.table.clusters))
            for name, found in scores.items()
        },
        levels=levels,
        index={label: _index(list(scores.values()), label) for label in groups},
        changes=_adjusted(changes),
        baseline=baseline,
        differences=_adjusted(differences),
        margin=margin,
    )


def _scores(groups: Mapping[str, Group], seeds: Mapping[str, Sequence[int]], name: str, reading: Reading) -> _Scores:
    """One capability of all runs, on the examples that all of them judged."""

    def table(run: MeasuredRun, base: bool) -> ScoreTable:
        rows = (run.base if base else run.after)[name]
        return score_table(rows, lenient=reading == "lenient", sampled=reading == "sampled")

    runs = {label: [groups[label][seed] for seed in seeds[label]] for label in groups}
    first = next(iter(runs.values()))[0]
    base = table(first, base=True)
    after = {label: [table(run, base=False) for run in members] for label, members in runs.items()}
    every = [base, *(found for members in after.values() for found in members)]
    common = set(base.positions).intersection(*(found.positions for found in every))
    if not common:
        raise NotComparable(f"{name} has no {reading} scores that all runs share")

    def shared(found: ScoreTable) -> ScoreTable:
        return found.select([row for row, position in enumerate(found.positions) if position in common])

    stacked = {label: np.stack([shared(found).means() for found in members]) for label, members in after.items()}
    return _Scores(shared(base), stacked)


def _level(base: ScoreTable, after: NDArray[np.float64]) -> Level:
    means = after.mean(1)
    before = base.means()[:, None]
    found = [measures(before, scores[:, None], base.chance) for scores in after]
    suffix = "_above_chance" if base.chance.any() else ""
    kept, lost, won = (
        float(np.mean([part[measure + suffix] for part in found])) for measure in ("retention", "forgotten", "gained")
    )
    return Level(float(means.mean()), t_interval(means), kept, lost, won)


def _index(scores: Sequence[_Scores], label: str) -> tuple[float, Interval]:
    """Forgetting index of each seed: mean and interval."""
    by_seed = []
    for seed in range(len(scores[0].after[label])):
        found = [measures(s.base[:, None], s.after[label][seed][:, None], s.table.chance) for s in scores]
        by_seed.append(forgetting_index(list(map(kept_share, found))))
    values = np.array(by_seed)
    return float(values.mean()), t_interval(values)


def _contrast(
    group: str,
    capability: str,
    scores: _Scores,
    seeds: Sequence[int],
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    margin: float | None,
) -> Contrast:
    """[seeds, E] against [seeds, E]."""
    right, were_right = ours >= RIGHT, theirs >= RIGHT
    return Contrast(
        group=group,
        capability=capability,
        difference=difference(ours - theirs, scores.table.clusters, margin),
        within={seed: transitions(were_right[row], right[row]) for row, seed in enumerate(seeds)},
        discordant=float((right != were_right).mean()),
    )


def _adjusted(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """With p values adjusted for all of them: one family."""
    adjusted = as_family([contrast.difference for contrast in contrasts])
    return [replace(contrast, difference=one) for contrast, one in zip(contrasts, adjusted, strict=True)]


def verdict(found: Difference, margin: float | None, alpha: float = 0.05) -> str:
    """What 95 % allow to say: 'higher', 'lower', 'equivalent' (within the margin) or 'open'; 'one seed' where nothing."""
    if math.isnan(found.p_t):
        return "one seed"
    said = []
    if found.p_holm < alpha:
        said.append("higher" if found.mean > 0 else "lower")
    if margin is not None and found.p_equivalent < alpha:
        said.append("equivalent")
    return ", ".join(said) or "open"
