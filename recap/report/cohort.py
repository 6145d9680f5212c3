"""Which runs of a report are one group, which are compared, and which are left out, with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recap.evaluation.comparable import (
    Group,
    MeasuredRun,
    NotComparable,
    baseline_of,
    check_comparable,
    differing,
    group_runs,
)
from recap.evaluation.comparison import Comparison, compare
from recap.report.gather import ReportedRun

LABEL = 44  # characters of what a group's bindings add to its name


@dataclass(frozen=True)
class Cohort:
    """The runs of a report, in groups by policy.

    Attributes:
        groups: label -> its runs, by seed; the same order and the same labels everywhere in the report.
        comparison: of the runs with outcomes; None where there are none.
        distinct: label -> the bindings that not all groups have.
        left_out: a line for each run that is not in the report, with the reason.
        notes: what else a reader should know.
    """

    groups: Mapping[str, Sequence[ReportedRun]]
    comparison: Comparison | None
    distinct: Mapping[str, Sequence[str]]
    left_out: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def runs(self) -> list[ReportedRun]:
        return [run for group in self.groups.values() for run in group]

    def domains(self, label: str) -> list[str]:
        """What a group trains on."""
        return [name for name in self.groups[label][0].about["settings"].get("domains", "").split(", ") if name]


def cohort_of(runs: Sequence[ReportedRun], baseline: str | None = None) -> Cohort:
    """Groups the runs that say something about one another.

    Most runs of a sweep are of one kind: of one base, after as many steps. Who differs from those in more than `recap compare`
    allows is left out.

    Args:
        baseline: the group that the others are compared with; None: that of the first run.

    Raises:
        ValueError: no such group.
    """
    by_name = {run.name: run for run in runs}
    measured = [_measured(run) for run in runs]
    kept, left_out, notes = _comparable(measured)
    kept, twice = _one_of_each(kept)
    groups = _in_order(_named(list(group_runs(kept).values())), baseline)
    compared = {label: {seed: run for seed, run in group.items() if run.after} for label, group in groups.items()}
    compared = {label: group for label, group in compared.items() if group}
    comparison = None
    try:
        comparison = compare(compared, next(iter(compared))) if compared else None
    except NotComparable as error:  # a capability whose verifier never applies
        notes.append(f"nothing is compared: {error}")
    notes += [
        f"{run.name}: not evaluated both before its first step and later"
        for run in kept
        if not _both(by_name[run.name])
    ]
    return Cohort(
        groups={label: [by_name[group[seed].name] for seed in sorted(group)] for label, group in groups.items()},
        comparison=comparison,
        distinct=differing(groups),
        left_out=[*left_out, *twice],
        notes=notes,
    )


def _measured(run: ReportedRun) -> MeasuredRun:
    """Without outcomes of a base and of a later step there is nothing to compare: such a run is drawn alone."""
    last = max(run.outcomes, default=0)
    if not run.outcomes or not _both(run):
        return MeasuredRun(run.name, run.about, last, {}, {})
    return MeasuredRun(run.name, run.about, last, run.outcomes[0], run.outcomes[last])


def _both(run: ReportedRun) -> bool:
    """Whether a run was evaluated before its first step and later."""
    logged = (curve for name, curve in run.series.items() if name.startswith("capability/"))
    steps = set(run.outcomes) or {step for curve in logged for step in curve}
    return 0 in steps and max(steps) > 0


def _comparable(runs: Sequence[MeasuredRun]) -> tuple[list[MeasuredRun], list[str], list[str]]:
    """Those that are comparable with most others, those that are not, and notes."""
    kinds = Counter(map(_kind, runs))
    usual = max((run for run in runs if run.after), key=lambda run: (kinds[_kind(run)], run.step), default=None)
    kept, left_out, notes = [], [], []
    for run in runs:
        if run.after and usual is not None and run is not usual:
            try:
                notes += check_comparable([usual, run])
            except NotComparable as error:
                left_out.append(f"{run.name}: {'; '.join(line.strip() for line in str(error).splitlines()[1:])}")
                continue
        kept.append(run)
    return kept, left_out, notes


def _kind(run: MeasuredRun) -> tuple[object, ...]:
    """Runs of other kinds are never comparable."""
    return run.step, run.about["model"], frozenset(run.after)


def _one_of_each(runs: Sequence[MeasuredRun]) -> tuple[list[MeasuredRun], list[str]]:
    """One run of each experiment and seed, the first."""
    kept: list[MeasuredRun] = []
    left_out = []
    for run in runs:
        try:
            group_runs([*kept, run])
            kept.append(run)
        except NotComparable as error:
            left_out.append(f"{run.name}: {str(error).removesuffix(': name one of them')}")
    return kept, left_out


def _named(groups: Sequence[Group]) -> dict[str, Group]:
    """By policy; by policy and what is bound otherwise where that is short, as in a sweep; else by policy and number.

    Where the groups do not train on the same domains, with how many.
    """
    firsts = [next(iter(group.values())) for group in groups]
    domains = {_domains(run) for run in firsts}
    labels = []
    for number, run in enumerate(firsts):
        same = {str(place): groups[place] for place, other in enumerate(firsts) if other.policy == run.policy}
        count = len(_domains(run).split(", "))
        many = f" ({count} domain{'s' if count > 1 else ''})" if len(domains) > 1 and _domains(run) else ""
        own = _settings(differing(same)[str(number)]) if len(same) > 1 else ""
        labels.append(f"{run.policy}{own}{many}")
    counted = [f"{label} {labels[:place].count(label)}" for place, label in enumerate(labels, 1)]
    taken = [label if labels.count(label) == 1 else other for label, other in zip(labels, counted, strict=True)]
    return dict(zip(taken, groups, strict=True))


def _settings(bindings: Sequence[str]) -> str:
    """``, window = 3``; nothing where it would be no name."""
    text = "".join(
        f", {name.rpartition('.')[2].strip()} ={value}" for name, _, value in (b.partition("=") for b in bindings)
    )
    return text if len(text) <= LABEL else ""


def _domains(run: MeasuredRun) -> str:
    return str(run.about["settings"].get("domains", ""))


def _in_order(groups: dict[str, Group], baseline: str | None) -> dict[str, Group]:
    """The baseline first."""
    first = baseline_of(groups, baseline)
    return {first: groups[first], **groups}
