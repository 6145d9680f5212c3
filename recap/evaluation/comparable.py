"""What can be compared: runs of one base model on the same examples, asked alike, after as many steps; in groups."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recap.evaluation.outcomes import Outcome, Outcomes
from recap.evaluation.score_table import matched, score_table

ROUNDING = 0.01
"""Share of the examples on which the base models of two runs may differ: kernels of two machines round differently."""

SHOWN = 3  # reasons of one kind

# Statements of a gin file that do not make another experiment.
_NO_DIFFERENCE = re.compile(
    r"(^|[/.])(seed|(tracking|checkpoints|drift)\.\w+|rewards\.(workers|memory_gb)|train\.(evaluate_every|drift)|MLFLOW\w*) *="
)


class NotComparable(ValueError):
    """Runs that cannot be compared, and why."""


@dataclass(frozen=True)
class MeasuredRun:
    """A run as its outcomes tell of it.

    Attributes:
        name: how messages name it.
        about: what it is (`recap.runs.outcomes.about_run`).
        step: of the outcomes to be compared.
        base: outcomes before the first step.
        after: outcomes after `step`.
    """

    name: str
    about: Mapping[str, Any]
    step: int
    base: Outcomes
    after: Outcomes

    @property
    def seed(self) -> int:
        return int(self.about["seed"])

    @property
    def policy(self) -> str:
        """The reweighting policy, as it is registered but for the underscores."""
        return str(self.about["settings"]["reweighting"]).lower()


Group = dict[int, MeasuredRun]
"""Seed -> run, of runs that differ in the seed alone."""


def check_comparable(runs: Sequence[MeasuredRun]) -> list[str]:
    """Refuses runs of which no difference would mean anything.

    Returns: what a person should know of those that can be compared.

    Raises:
        NotComparable: all that is wrong.
    """
    first, *others = runs
    reasons: list[str] = []
    notes: list[str] = []
    for run in runs:
        if lacking := [name for name in run.after if name not in run.base]:
            reasons.append(f"{run.name}: {', '.join(lacking)} was not measured before the first step")
    for other in others:
        if other.step != first.step:
            reasons.append(
                f"other steps: {first.name} was last evaluated at step {first.step}, {other.name} at {other.step}"
            )
        if other.about["model"] != first.about["model"]:
            reasons.append(
                f"other base: {first.name} started from {first.about['model']}, {other.name} from {other.about['model']}"
            )
        if set(other.after) != set(first.after):
            reasons.append(
                f"other capabilities: {first.name} has {', '.join(first.after)}; {other.name} has {', '.join(other.after)}"
            )
        for capability in (
            name for name in first.after if all(name in rows for rows in (first.base, other.base, other.after))
        ):
            if found := _difference(first, other, capability):
                (reasons if found[0] else notes).append(found[1])
    if reasons:
        raise NotComparable("these runs cannot be compared:\n  " + "\n  ".join(reasons))
    return notes


def _difference(first: MeasuredRun, other: MeasuredRun, capability: str) -> tuple[bool, str] | None:
    """Why one capability of two runs cannot be compared (True), or what is to be known of it (False)."""
    asked = [run.about["capabilities"][capability] for run in (first, other)]
    for setting in sorted(asked[0].keys() & asked[1].keys()):  # another version of recap may write down others besides
        ours, theirs = asked[0][setting], asked[1][setting]
        if ours != theirs:
            return (
                True,
                f"other questions: {capability} had {setting} = {ours!r} in {first.name}, {theirs!r} in {other.name}",
            )
    ours = _examples(first.base[capability])
    for run, rows in ((part, rows[capability]) for part in (first, other) for rows in (part.base, part.after)):
        theirs = _examples(rows)
        if unlike := sorted(place for place in {*ours, *theirs} if ours.get(place) != theirs.get(place)):
            place = unlike[0]
            return True, (
                f"other examples: {len(unlike)} of {max(len(ours), len(theirs))} of {capability} in {run.name} are not those of"
                f" {first.name}; at position {place}, {theirs.get(place, ('', 'none'))[1]} instead of"
                f" {ours.get(place, ('', 'none'))[1]}"
            )
    before, same = matched(score_table(first.base[capability]), score_table(other.base[capability]))
    differing = int((before.scores != same.scores).any(1).sum())
    if not differing:
        return None
    many = differing > ROUNDING * len(before.positions)
    return many, (
        f"{'other base' if many else 'note'}: before the first step, {other.name} has another score than {first.name} on"
        f" {differing} of {len(before.positions)} examples of {capability}"
    )


def _examples(rows: Sequence[Outcome]) -> dict[int, tuple[str, str]]:
    return {row.position: (row.digest, row.example) for row in rows if row.sample == 0}


def group_runs(runs: Sequence[MeasuredRun]) -> dict[str, Group]:
    """The runs by experiment: those whose configurations differ in seeds, tracking and checkpoints alone are one group.

    A group is called by its policy; where two groups have one, by policy and run; where that is the same too, they are
    numbered.

    Raises:
        NotComparable: two runs of one group with one seed.
    """
    found: dict[frozenset[str], list[MeasuredRun]] = {}
    for run in runs:
        found.setdefault(statements(run), []).append(run)
    groups: dict[str, Group] = {}
    for members, label in zip(found.values(), _labels(list(found.values())), strict=True):
        group = groups.setdefault(label, {})
        for run in members:
            if run.seed in group:
                raise NotComparable(
                    f"{group[run.seed].name} and {run.name} are one experiment with one seed, {run.seed}: name one of them"
                )
            group[run.seed] = run
    return groups


def baseline_of(groups: Mapping[str, Group], wanted: str | None) -> str:
    """The label of the group that the others are compared with.

    Args:
        wanted: its label, or its policy where no other group has it; None: the first group.

    Raises:
        NotComparable: there is none, or there are several.
    """
    if wanted is None or wanted in groups:
        return wanted or next(iter(groups))
    found = [label for label, group in groups.items() if next(iter(group.values())).policy == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise NotComparable(f"{len(found)} groups are {wanted!r}: name one of {', '.join(map(repr, found))}")
    raise NotComparable(f"no group {wanted!r} to compare with; there are {', '.join(map(repr, groups))}")


def statements(run: MeasuredRun) -> frozenset[str]:
    """What of a run's configuration makes it another experiment: its bindings, without seeds and what is kept where."""
    text = str(run.about["configuration"])
    if not text:  # an experiment that was built in Python
        return frozenset(f"{name} = {value}" for name, value in run.about["settings"].items() if name != "seed")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined: list[str] = []
    for line in lines:
        if line[0].isspace() and joined:
            joined[-1] += " " + line.strip()
        else:
            joined.append(line)
    return frozenset(line for line in joined if not _NO_DIFFERENCE.search(line.partition("=")[0] + "="))


def _labels(groups: Sequence[Sequence[MeasuredRun]]) -> list[str]:
    for name in (lambda run: run.policy, lambda run: f"{run.policy} ({run.about['run']})"):
        labels = [name(members[0]) for members in groups]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{label} {number}" for number, label in enumerate(labels, 1)]


def differing(groups: Mapping[str, Group]) -> dict[str, list[str]]:
    """Group -> the bindings that not all groups have, for a person who asks what the groups are."""
    sets = {label: statements(next(iter(group.values()))) for label, group in groups.items()}
    common = frozenset.intersection(*sets.values())
    return {label: sorted(found - common) for label, found in sets.items()}
