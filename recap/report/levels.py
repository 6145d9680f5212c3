"""Figures of where the groups ended: changes, final bars, gain against forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recap.evaluation.statistics import t_interval
from recap.report.changes import Change, frontier, mixture_frontier
from recap.report.cohort import Cohort
from recap.report.style import BAND, HEIGHT, NARROW, Drawn, legend, marks, new_figure, panels, styled, svg

LAST = 10  # a final reward is the mean over the last tenth of the steps


def change_figure(cohort: Cohort, changes: Sequence[Change]) -> Drawn:
    """What became of every capability, with intervals: the figure of the first screen."""
    name, title = "changes", "Before and after"
    bases = {change.basis for change in changes}
    over = (
        "over seeds"
        if bases == {"seeds"}
        else "over examples"
        if "seeds" not in bases
        else "over seeds, or examples of one seed"
    )
    caption = f"Change of the held-out score since the base model, with 95 % intervals {over}. Left of 0 was forgotten."
    if any(len(change.by_seed) > 1 for change in changes):
        caption += " Small dots: single seeds. An interval that runs off the picture is wider than it."
    if not changes:
        return Drawn(name, title, caption, lacking="No run was evaluated both before its first step and later")
    colours = marks(list(cohort.groups))
    capabilities = list(dict.fromkeys(change.capability for change in changes))
    before = {change.capability: change.before for change in changes}
    groups = [label for label in cohort.groups if any(change.group == label for change in changes)]
    with styled():
        figure = new_figure((0.2 + 0.15 * len(groups)) * len(capabilities) / HEIGHT + 0.35, NARROW)
        (axis,) = panels(figure, 1, 1)
        apart = 0.7 / max(2, len(groups))
        for change in changes:
            mark = colours[change.group]
            row = capabilities.index(change.capability) + (groups.index(change.group) - (len(groups) - 1) / 2) * apart
            error = [[change.mean - change.interval.low], [change.interval.high - change.mean]]
            known = np.isfinite(error).all()
            first = change.capability == next(c.capability for c in changes if c.group == change.group)
            axis.errorbar(
                change.mean, row, xerr=error if known else None, fmt=mark.marker, ms=7, color=mark.colour, capsize=3, lw=1.6,
                label=change.group if first else None,
            )  # fmt: skip
            if len(change.by_seed) > 1:
                axis.plot(change.by_seed, [row] * len(change.by_seed), ".", color=mark.colour, ms=5, alpha=0.6)
        axis.axvline(0, color="0.4", lw=1.2)
        axis.set_xlim(*_wide_enough(changes))
        axis.set_yticks(range(len(capabilities)), [f"{name}\n(base {before[name]:.2f})" for name in capabilities])
        axis.grid(axis="y", visible=False)
        for row in range(0, len(capabilities), 2):
            axis.axhspan(row - 0.5, row + 0.5, color="#f6f6f6", zorder=0, lw=0)
        axis.set_ylim(len(capabilities) - 0.5, -0.5)
        axis.set_xlabel("change of the held-out score")
        legend(figure, axis)
        said = [
            f"{c.group}, {c.capability}: {c.mean:+.3f} [{c.interval.low:+.3f}, {c.interval.high:+.3f}]" for c in changes
        ]
        return Drawn(name, title, caption, f"Changes of the held-out score. {'; '.join(said)}.", svg(figure))


def _wide_enough(changes: Sequence[Change]) -> tuple[float, float]:
    """Around all that was seen, and intervals of up to half as much again: those of two seeds may be ten times as wide."""
    seen = [value for change in changes for value in (change.mean, *change.by_seed)]
    reach = 1.5 * max([0.05, *map(abs, seen)])
    ends = [end for change in changes for end in change.interval if np.isfinite(end)]
    low, high = (np.clip(end, -reach, reach) for end in (min([*seen, *ends]), max([*seen, *ends])))
    return float(min(low, -0.02)) - 0.03, float(max(high, 0.02)) + 0.03


def final_bars(cohort: Cohort, changes: Sequence[Change]) -> Drawn:
    """Where every objective and every capability ended (Fig. 12)."""
    name, title = "final_bars", "Where they ended"
    caption = (
        "Held-out scores at the last evaluation, a black line at the base's; and rewards of training, means over the last"
        " tenth of the steps."
    )
    if any(len(runs) > 1 for runs in cohort.groups.values()):
        caption += f" Dots: single seeds; whiskers: 95 % by t over {BAND} seeds or more."
    rewards = {label: _rewards(cohort, label) for label in cohort.groups}
    scores = {
        label: {c.capability: [c.before + value for value in c.by_seed] for c in changes if c.group == label}
        for label in cohort.groups
    }
    lots = {"held-out score": scores, "reward in training": rewards}
    lots = {what: found for what, found in lots.items() if any(any(by.values()) for by in found.values())}
    if not lots:
        return Drawn(name, title, caption, lacking="No run has scores of a later step, or rewards")
    before = {change.capability: change.before for change in changes}
    with styled():
        figure = new_figure(1.15 * len(lots))
        axes = panels(figure, len(lots), 1)
        for axis, (what, found) in zip(axes, lots.items(), strict=True):
            names = _bars(axis, cohort, found)
            axis.set_ylabel(what)
            for place, named in enumerate(names if what == "held-out score" else ()):
                axis.hlines(before[named], place - 0.42, place + 0.42, color="black", lw=1.5)
        legend(figure, axes[0])
        said = [
            f"{what}, {label}: " + ", ".join(f"{n} {np.mean(values):.3f}" for n, values in by.items() if values)
            for what, found in lots.items()
            for label, by in found.items()
        ]
        lacking = "" if "reward in training" in lots else "Left out: rewards of training, which no run here has by step"
        return Drawn(name, title, caption, f"{title}. {'; '.join(said)}.", svg(figure), lacking)


def _bars(axis: Any, cohort: Cohort, found: dict[str, dict[str, list[float]]]) -> list[str]:
    """Groups of bars; returns what stands under each."""
    names = list(dict.fromkeys(name for by in found.values() for name, values in by.items() if values))
    wide = 0.84 / len(found)
    draw = axis.bar
    for place, (label, by) in enumerate(found.items()):
        colour = marks(list(cohort.groups))[label].colour
        at = [names.index(name) + (place - (len(found) - 1) / 2) * wide for name in names if by.get(name)]
        lots = [np.array(by[name]) for name in names if by.get(name)]
        means = [float(values.mean()) for values in lots]
        draw(at, means, wide * 0.92, color=colour, label=label)
        for x, values in zip(at, lots, strict=True):
            _whisker(axis, x, values)
    short = axis.set_xticks
    short(range(len(names)), [name.replace("_", "_\n", 1) if len(name) > 10 else name for name in names])
    axis.set_ylim(0, 1.05)
    axis.grid(axis="x", visible=False)
    return names


def _whisker(axis: Any, x: float, values: NDArray[np.float64]) -> None:
    """Single seeds as dots; an interval where there are enough for one."""
    if len(values) > 1:
        axis.plot([x] * len(values), values, "o", color="white", mec="0.2", ms=4, mew=0.8)
    if len(values) >= BAND:
        low, high = t_interval(values)
        axis.vlines(x, max(0.0, low), min(1.05, high), color="0.2", lw=1.2)


def _rewarded(cohort: Cohort) -> list[str]:
    names = {name for run in cohort.runs for name in run.series if name.startswith("reward/") and name.count("/") == 1}
    return sorted(name.removeprefix("reward/") for name in names)


def _rewards(cohort: Cohort, label: str) -> dict[str, list[float]]:
    """Objective -> final reward of each seed."""
    curves = [run.series for run in cohort.groups[label]]
    return {
        what: [_final(series[f"reward/{what}"]) for series in curves if f"reward/{what}" in series]
        for what in _rewarded(cohort)
    }


def _final(curve: dict[int, float]) -> float:
    values = [curve[step] for step in sorted(curve)]
    return float(np.mean(values[-max(1, len(values) // LAST) :]))


def frontier_figure(cohort: Cohort) -> Drawn:
    """Gain against forgetting, over the evaluations of every run, and over mixtures of its weights with the base's."""
    name, title = "frontier", "Gain against forgetting"
    caption = (
        "Every evaluation of every run, joined in the order of its steps, the last one large. Up: mean rise of the score over"
        " capabilities (0 where it fell). Right: forgetting index, 1 − mean of min(1, score / base). Best is top left."
    )
    colours = marks(list(cohort.groups))
    mixtures = False
    with styled():
        figure = new_figure(1.6)
        (axis,) = panels(figure, 1, 1)
        said = []
        for label, runs in cohort.groups.items():
            mark = colours[label]
            ends: list[tuple[float, float]] = []
            for run in runs:
                points = [point for point in frontier(run).values() if np.isfinite(point).all()]
                if len(points) > 1:
                    x, y = zip(*points, strict=True)
                    axis.plot(x, y, "-", color=mark.colour, lw=1.4, marker=mark.marker, ms=4, alpha=0.75)
                    axis.plot(x[-1], y[-1], mark.marker, color=mark.colour, ms=10, label=None if ends else label)
                    ends.append((x[-1], y[-1]))
                mixed = [point for point in mixture_frontier(run).values() if np.isfinite(point).all()]
                if len(mixed) > 1:
                    look = {"color": mark.colour, "marker": mark.marker, "ms": 6, "mfc": "white", "ls": ":", "lw": 1.6}
                    axis.plot(*zip(*mixed, strict=True), **look)
                    mixtures = True
            if ends:
                x, y = np.mean(ends, axis=0)
                said.append(f"{label} ends at a gain of {y:.3f} and a forgetting of {x:.3f}")
        if not said:
            return Drawn(name, title, caption, lacking="No run kept outcomes of a base and a later evaluation")
        if mixtures:
            axis.plot([], [], "o:", color="0.4", mfc="white", ms=6, label="mixtures with the base")
        axis.set(xlabel="forgetting index (0: nothing is lost)", ylabel="mean gain")
        axis.margins(0.08)
        legend(figure, axis)
        if mixtures:
            caption += " Dotted: (1 − α) base + α trained, of recap interpolate."
        lacking = "" if mixtures else "Left out: mixtures of base and trained weights, which recap interpolate RUN adds"
        return Drawn(name, title, caption, f"{title}, mean over seeds: {'; '.join(said)}.", svg(figure), lacking)
