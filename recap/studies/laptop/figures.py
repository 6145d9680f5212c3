"""The arms side by side: how far each is from uniform replay, and what it kept against what it learnt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recap.report.style import Mark, marks, new_figure, panels, styled
from recap.studies.laptop.arms import BASELINE, KEPT, LEARNT, MARGIN
from recap.studies.laptop.endpoint import Finding, mean_score
from recap.studies.laptop.runs import Runs

HEIGHT_OF_ARM = 0.13  # rows of panels


def draw(found: Sequence[Finding], runs: Runs, path: Path) -> None:
    """Left the primary number, its interval, and every seed; right levels of kept and learnt skills, every seed a dot."""
    shown = list(found)[::-1]
    with styled():
        figure = new_figure(max(1.1, HEIGHT_OF_ARM * len(shown) + 0.5))
        left, right = panels(figure, 2, 2)
        left.axvspan(-100 * MARGIN, 100 * MARGIN, color="#eeeeee", zorder=0)
        left.axvline(0, color="#888888", lw=1)
        looks = marks([one.arm for one in found])
        for place, one in enumerate(shown):
            _forest(left, place, one, runs, looks[one.arm])
            _frontier(right, one, runs, looks[one.arm])
        left.set_yticks(range(len(shown)), [one.arm for one in shown])
        left.set_xlabel("kept skills, points above uniform replay")
        left.grid(axis="y", visible=False)
        any_run = next(iter(runs[shown[0].arm].values()))
        base = [100 * mean_score(any_run, skills, base=True) for skills in (LEARNT, KEPT)]
        right.plot(*base, "*", color="black", ms=11)
        right.annotate("base", base, (8, 2), textcoords="offset points")
        right.set(xlabel="counting and arithmetic, score in points", ylabel="kept skills")
        right.margins(0.12)
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


def _forest(axis: Any, place: int, one: Finding, runs: Runs, look: Mark) -> None:
    if one.primary is None:
        axis.plot(0, place, "|", color=look.colour, ms=12)
        return
    both = sorted(runs[one.arm].keys() & runs[BASELINE].keys())
    by_seed = [100 * (mean_score(runs[one.arm][seed], KEPT) - mean_score(runs[BASELINE][seed], KEPT)) for seed in both]
    axis.plot(by_seed, [place + 0.18] * len(by_seed), "o", color=look.colour, ms=3.5, alpha=0.5, mew=0)
    if not math.isnan(one.primary.interval.low):
        axis.plot([100 * end for end in one.primary.interval], [place, place], "-", color=look.colour, lw=2)
    axis.plot(100 * one.primary.mean, place, look.marker, color=look.colour, ms=6)


def _frontier(axis: Any, one: Finding, runs: Runs, look: Mark) -> None:
    points = [(100 * mean_score(run, LEARNT), 100 * mean_score(run, KEPT)) for run in runs[one.arm].values()]
    x, y = zip(*points, strict=True)
    axis.plot(x, y, "o", color=look.colour, ms=3.5, alpha=0.5, mew=0)
    axis.plot(sum(x) / len(x), sum(y) / len(y), look.marker, color=look.colour, ms=7)
