"""The arms side by side: how far each is from uniform replay, and what it kept against what it learnt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from recap.report.style import COLOURS, new_figure, panels, styled
from recap.studies.laptop.arms import BASELINE, KEPT, LEARNT, MARGIN
from recap.studies.laptop.endpoint import Finding
from recap.studies.laptop.runs import ArmRun, Runs

HEIGHT_OF_ARM = 0.13  # rows of panels


def draw(found: Sequence[Finding], runs: Runs, path: Path) -> None:
    """Left the primary number, its interval, and every seed; right levels of kept and learnt skills, every seed a dot."""
    shown = list(found)[::-1]
    with styled():
        figure = new_figure(max(1.1, HEIGHT_OF_ARM * len(shown) + 0.5))
        left, right = panels(figure, 2, 2)
        left.axvspan(-100 * MARGIN, 100 * MARGIN, color="#eeeeee", zorder=0)
        left.axvline(0, color="#888888", lw=1)
        for place, one in enumerate(shown):
            colour = COLOURS[(len(shown) - 1 - place) % len(COLOURS)]
            _forest(left, place, one, runs, colour)
            _frontier(right, one, runs, colour)
        left.set_yticks(range(len(shown)), [one.arm for one in shown])
        left.set_xlabel("kept skills, points above uniform replay")
        left.grid(axis="y", visible=False)
        any_run = next(iter(runs[shown[0].arm].values()))
        right.plot(*(100 * _mean(any_run, skills, base=True) for skills in (LEARNT, KEPT)), "*", color="black", ms=11)
        right.annotate(
            "base",
            [100 * _mean(any_run, skills, base=True) for skills in (LEARNT, KEPT)],
            (8, 2),
            textcoords="offset points",
        )
        right.set(xlabel="counting and arithmetic, score in points", ylabel="kept skills")
        right.margins(0.12)
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


def _forest(axis: object, place: int, one: Finding, runs: Runs, colour: str) -> None:
    draw_on = axis.plot  # type: ignore[attr-defined]
    if one.primary is None:
        draw_on(0, place, "|", color=colour, ms=12)
        return
    both = sorted(runs[one.arm].keys() & runs[BASELINE].keys())
    by_seed = [100 * (_mean(runs[one.arm][seed], KEPT) - _mean(runs[BASELINE][seed], KEPT)) for seed in both]
    draw_on(by_seed, [place + 0.18] * len(by_seed), "o", color=colour, ms=3.5, alpha=0.5, mew=0)
    if not math.isnan(one.primary.interval.low):
        draw_on([100 * end for end in one.primary.interval], [place, place], "-", color=colour, lw=2)
    draw_on(100 * one.primary.mean, place, "D", color=colour, ms=6)


def _frontier(axis: object, one: Finding, runs: Runs, colour: str) -> None:
    points = [(100 * _mean(run, LEARNT), 100 * _mean(run, KEPT)) for run in runs[one.arm].values()]
    x, y = zip(*points, strict=True)
    axis.plot(x, y, "o", color=colour, ms=3.5, alpha=0.5, mew=0)  # type: ignore[attr-defined]
    axis.plot(sum(x) / len(x), sum(y) / len(y), "D", color=colour, ms=7)  # type: ignore[attr-defined]


def _mean(run: ArmRun, skills: Sequence[str], base: bool = False) -> float:
    scores = run.base if base else run.after
    return float(sum(scores[skill].mean() for skill in skills) / len(skills))
