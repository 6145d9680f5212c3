"""What a report says in words: which group kept what, what was forgotten, and whether it is real. All of it is computed."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import stats

from recap.evaluation.statistics import CONFIDENCE, Interval
from recap.report.changes import Change
from recap.report.cohort import Cohort
from recap.report.style import listed

BASES = {
    "seeds": "over seeds, by Student's t: what other seeds would show on the same examples",
    "examples": "over the examples of one seed: whether these models differ from their base, not what another seed would do",
    "scores": "from the standard errors of one seed, as if its examples before and after were others, which is wide",
}


def opening(cohort: Cohort) -> str:
    """What is in the report."""
    runs, groups = cohort.runs, cohort.groups
    found = cohort.comparison
    parts = [f"{len(runs)} run{'s' if len(runs) > 1 else ''}"]
    if len(groups) > 1:
        parts.append(f"{len(groups)} groups")
    parts += [f"{label} with {_seeds(len(group))}" for label, group in groups.items()]
    if found is not None:
        examples = sorted(set(found.examples.values()))
        many = f"{examples[0]}" if len(examples) == 1 else f"{examples[0]} to {examples[-1]}"
        parts.append(f"{len(found.examples)} capabilities of {many} held-out examples, at step {found.step}")
    return "; ".join(parts) + "."


def verdicts(cohort: Cohort, changes: Sequence[Change]) -> dict[str, str]:
    """Group -> what it gained, what it forgot, and what is open; its forgetting index."""
    indices = cohort.comparison.index if cohort.comparison else {}
    found = {}
    for label in dict.fromkeys(change.group for change in changes):
        own = [change for change in changes if change.group == label]
        rose, fell, rest = ([c for c in own if c.sign == sign] for sign in (1, -1, 0))
        parts = [f"Gained {_with(rose)}.", f"Forgot {_with(fell)}."]
        if rest:
            hold = "their intervals hold" if len(rest) > 1 else "its interval holds"
            parts.append(f"Open: {listed([c.capability for c in rest])}; {hold} 0 ({_most(rest)}).")
        if label in indices:
            mean, ends = indices[label]
            parts.append(f"Forgetting index {mean:.3f}{_ends(ends)}.")
        found[label] = " ".join(parts)
    return found


def between(differences: Sequence[Change], baseline: str) -> dict[str, str]:
    """Group -> how it ended against the baseline."""
    found = {}
    for label in dict.fromkeys(difference.group for difference in differences):
        own = [difference for difference in differences if difference.group == label]
        above, below, rest = ([d for d in own if d.sign == sign] for sign in (1, -1, 0))
        said = [f"{how} in {_with(part)}" for how, part in (("higher", above), ("lower", below)) if part]
        text = " and ".join(said) if said else "no difference beyond its interval"
        text += f"; {len(rest)} of {len(own)} {'is' if len(rest) == 1 else 'are'} open" if said and rest else ""
        found[label] = f"Against {baseline}, on the same seeds: {text}."
    return found


def how_real(changes: Sequence[Change], differences: Sequence[Change]) -> list[str]:
    """What the intervals are, and how far they can be trusted."""
    lines = []
    bases = list(dict.fromkeys(change.basis for change in changes))
    for basis in bases:
        who = listed(list(dict.fromkeys(change.group for change in changes if change.basis == basis)))
        whose = f"The 95 % intervals of {who}" if len(bases) > 1 else "All intervals, of 95 %,"
        lines.append(f"{whose} are {BASES[basis]}.")
    found = [change for change in [*changes, *differences] if change.sign]
    count = len(changes) + len(differences)
    if count:
        lines.append(f"{len(found)} of {count} intervals leave out 0; about {0.05 * count:.1f} would by chance alone.")
    tested = [change for change in [*changes, *differences] if change.p_holm == change.p_holm]
    if not tested:
        return lines
    holds = sum(change.p_holm < 0.05 for change in found)
    lines.append(
        f"{holds} of those {len(found)} remain{'s' if holds == 1 else ''} when p is adjusted for the number of comparisons"
        " (Holm, changes and differences apart)."
    )
    fewest = min(len(change.by_seed) for change in tested)
    if fewest < 4:
        lines.append(
            f"With {fewest} seeds an interval is {_factor(fewest)} wide to each side, where many seeds need 2: 'open' says that"
            " these runs cannot tell, not that nothing happened."
        )
    if alike := [f"{c.capability} of {c.group}" for c in found if len(set(c.by_seed)) == 1]:
        lines.append(f"No width, and so no certainty, where all seeds changed by just the same: {listed(alike)}.")
    return lines


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"


def _ends(interval: Interval) -> str:
    """Of several seeds."""
    return "" if interval.low != interval.low else f" [{interval.low:.3f}, {interval.high:.3f}]"


def _with(changes: Sequence[Change]) -> str:
    if not changes:
        return "nothing that the intervals show"
    ranked = sorted(changes, key=lambda change: -abs(change.mean))
    return listed([f"{c.capability} ({c.mean:+.3f} [{c.interval.low:+.3f}, {c.interval.high:+.3f}])" for c in ranked])


def _most(changes: Sequence[Change]) -> str:
    largest = max(changes, key=lambda change: abs(change.mean))
    return (
        f"largest mean: {largest.capability}, {largest.mean:+.3f}" if len(changes) > 1 else f"mean {largest.mean:+.3f}"
    )


def _factor(seeds: int) -> str:
    return f"{stats.t.ppf((1 + CONFIDENCE) / 2, seeds - 1):.1f} standard errors"
