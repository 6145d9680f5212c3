"""What two runs did to every skill: a table, a figure and two sentences, from the outcomes of the same examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.table import Table
from scipy import stats

from recap.evaluation.outcomes import Outcomes
from recap.evaluation.score_table import ScoreTable, matched, score_table
from recap.evaluation.scores import clustered_standard_error

CONFIDENCE = 0.95
TRAINED, REPLAYED = ("counting", "arithmetic"), ("grounding", "reading")
NAMES = ("reasoning-only", "RECAP")
COLOURS = ("#d55e00", "#0072b2")  # of Okabe and Ito's palette, told apart by the colour-blind


class Paired(NamedTuple):
    """The mean difference of two scores of the same examples, and half of its 95 % interval."""

    mean: float
    half: float

    @property
    def sign(self) -> int:
        """−1 or 1 where the interval leaves out 0; else 0."""
        return 0 if abs(self.mean) <= self.half else int(math.copysign(1, self.mean))

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ± {self.half:.3f}"


@dataclass(frozen=True)
class Skill:
    """One skill of the base model, and what each run changed of it.

    Attributes:
        base: mean score before.
        changes: after − before, of the runs in the order of `NAMES`.
        difference: the second run − the first.
    """

    name: str
    base: float
    changes: tuple[Paired, Paired]
    difference: Paired


def skills(base: Outcomes, reasoning_only: Outcomes, recap: Outcomes) -> list[Skill]:
    """Every skill that was measured before and after both runs."""
    found = []
    for name in base:
        before, without, with_replay = (score_table(rows[name]) for rows in (base, reasoning_only, recap))
        changes = (paired(without, before), paired(with_replay, before))
        found.append(Skill(name, float(before.means().mean()), changes, paired(with_replay, without)))
    return found


def paired(after: ScoreTable, before: ScoreTable) -> Paired:
    """after − before over the examples of both, with an interval by Student's t over clusters of examples."""
    ours, theirs = matched(after, before)
    differences = list(ours.means() - theirs.means())
    clusters = len(set(ours.clusters))
    if clusters < 2:
        return Paired(float(differences[0]) if differences else math.nan, math.inf)
    wide = float(stats.t.ppf((1 + CONFIDENCE) / 2, clusters - 1))
    error = clustered_standard_error(differences, ours.clusters) * math.sqrt(clusters / (clusters - 1))
    return Paired(float(sum(differences) / len(differences)), wide * error)


def report_table(found: Sequence[Skill]) -> Table:
    """A row for each skill: the base model, what each run changed, and the difference between the two runs."""
    table = Table(title="held-out score, and changes on the same examples ± 95 %", title_justify="left")
    table.add_column("skill")
    table.add_column("")
    for column in ("base", *NAMES, "RECAP − reasoning-only"):
        table.add_column(column, justify="right")
    for skill in found:
        cells = [str(change) for change in (*skill.changes, skill.difference)]
        table.add_row(skill.name, role(skill.name), f"{skill.base:.3f}", *cells)
    return table


def role(name: str) -> str:
    """What becomes of a skill in the quick start."""
    return "trained" if name in TRAINED else "replayed by RECAP" if name in REPLAYED else "never trained"


def verdict(found: Sequence[Skill]) -> str:
    """Two sentences on these two runs, which say no more than the intervals do."""
    rose = [_moved(found, run, +1) for run in range(2)]
    fell = [_moved(found, run, -1) for run in range(2)]
    better = [skill.name for skill in found if skill.difference.sign > 0]
    worse = [skill.name for skill in found if skill.difference.sign < 0]
    first = f"Reasoning-only raised {rose[0]} and lost {fell[0]}; RECAP raised {rose[1]} and lost {fell[1]}."
    ended = f"RECAP ended higher in {_listed(better)}" + (f" and lower in {_listed(worse)}" if worse else "")
    return f"{first}\nOn the same examples {ended}; no other difference between the two is beyond its interval."


def _moved(found: Sequence[Skill], run: int, sign: int) -> str:
    return _listed(
        [f"{skill.name} ({skill.changes[run].mean:+.2f})" for skill in found if skill.changes[run].sign == sign]
    )


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "nothing"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def draw(found: Sequence[Skill], path: Path) -> None:
    """The changes of both runs, with their intervals, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 0.55 * len(found) + 1.4))
    for run, (name, colour) in enumerate(zip(NAMES, COLOURS, strict=True)):
        rows = [row + (run - 0.5) * 0.28 for row in range(len(found))]
        means, halves = zip(*(skill.changes[run] for skill in found), strict=True)
        axis.errorbar(means, rows, xerr=halves, fmt="os"[run], color=colour, capsize=3, label=name)
    axis.axvline(0, color="0.5", lw=1)
    axis.set_yticks(range(len(found)), [f"{skill.name} ({skill.base:.2f})\n{role(skill.name)}" for skill in found])
    axis.invert_yaxis()
    axis.set_xlabel("change of the held-out score, same examples, ± 95 %")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
