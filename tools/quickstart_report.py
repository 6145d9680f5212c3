"""What two runs did to every skill: a table, a figure and two sentences, from the outcomes of the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from recap.evaluation.outcomes import Outcomes
from recap.evaluation.paired import Paired, paired
from recap.evaluation.score_table import score_table
from recap.report import style
from recap.report.style import listed

TRAINED, REPLAYED = ("counting", "arithmetic"), ("grounding", "reading")
NAMES = ("reasoning-only", "RECAP")
COLOURS = (style.COLOURS[1], style.COLOURS[0])


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
    ended = f"RECAP ended higher in {listed(better)}" + (f" and lower in {listed(worse)}" if worse else "")
    return f"{first}\nOn the same examples {ended}; no other difference between the two is beyond its interval."


def _moved(found: Sequence[Skill], run: int, sign: int) -> str:
    return listed(
        [f"{skill.name} ({skill.changes[run].mean:+.2f})" for skill in found if skill.changes[run].sign == sign]
    )


def draw(found: Sequence[Skill], path: Path) -> None:
    """The changes of both runs, with their intervals, as a picture."""
    with style.styled():
        figure = style.new_figure((0.5 * len(found) + 0.6) / style.HEIGHT, width=8)
        axis = figure.subplots()
        for run, (name, colour) in enumerate(zip(NAMES, COLOURS, strict=True)):
            rows = [row + (run - 0.5) * 0.28 for row in range(len(found))]
            means, halves = zip(*(skill.changes[run] for skill in found), strict=True)
            axis.errorbar(means, rows, xerr=halves, fmt=style.MARKERS[run], color=colour, capsize=3, label=name)
        axis.axvline(0, color="0.4", lw=1.2)
        axis.set_yticks(range(len(found)), [f"{skill.name} ({skill.base:.2f})\n{role(skill.name)}" for skill in found])
        axis.invert_yaxis()
        axis.grid(axis="y", visible=False)
        axis.set_xlabel("change of the held-out score, same examples, ± 95 %")
        style.legend(figure, axis)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
