"""Figures by step: a panel for each capability, objective or domain, in it a line for each group."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from recap.evaluation.statistics import t_interval
from recap.report.changes import capabilities_of, score_curve
from recap.report.cohort import Cohort
from recap.report.gather import ReportedRun
from recap.report.style import (
    BAND,
    LINES,
    OBJECTIVE_COLOURS,
    Drawn,
    Mark,
    legend,
    listed,
    marks,
    new_figure,
    panels,
    styled,
    svg,
    tidy,
)

Curve = dict[int, float]
Curves = dict[str, dict[str, list[Curve]]]
"""Panel -> group -> one curve for each seed."""

SMOOTHED = 40  # a curve of so many points or more is drawn as a running mean over a fortieth of them
LENGTH = re.compile(r"(completion|thinking)_(tokens|words|characters|lengths?)/([^/]+)")
POINTS = 400  # that are drawn of one curve
KEPT = 0.99  # a share of answers in the format from which on there is nothing to see
NO_STEPS = "No run here has this by step"


def forgetting_curve(cohort: Cohort) -> Drawn:
    """Held-out scores over steps (Fig. 2 of the paper)."""
    names = capabilities_of(cohort.runs)
    curves = {name: _curves(cohort, _capability(name, "score")) for name in names}
    return _draw(
        cohort,
        curves,
        name="forgetting_curve",
        title="The forgetting curve",
        caption="Held-out score over the steps of training.",
        ylabel="score",
    )


def rewards(cohort: Cohort) -> Drawn:
    """Mean reward of every objective over steps, format and accuracy among them (Figs. 4 and 5)."""
    caption = "Mean reward of each objective in training: format and accuracy side by side, by policy."
    return _of_objectives(cohort, "reward", "rewards", "Rewards by policy", caption, "mean reward")


def convergence(cohort: Cohort) -> Drawn:
    """Convergence rate of every objective (Fig. 4)."""
    caption = "Convergence rate c of each objective: above 1 it still improves, at 1 it has settled."
    return _of_objectives(cohort, "convergence", "convergence", "Convergence", caption, "c")


def instability(cohort: Cohort) -> Drawn:
    """Instability of every objective (Fig. 4)."""
    caption = "Instability i of each objective: its spread over two windows, relative to its mean."
    return _of_objectives(cohort, "instability", "instability", "Instability", caption, "i")


def _of_objectives(cohort: Cohort, prefix: str, name: str, title: str, caption: str, ylabel: str) -> Drawn:
    curves = {what: _curves(cohort, _metric(f"{prefix}/{what}")) for what in _logged(cohort, prefix)}
    lacking = f"{NO_STEPS}: a policy that measures no {title.lower()} logs none" if prefix != "reward" else NO_STEPS
    return _draw(cohort, curves, name=name, title=title, caption=caption, ylabel=ylabel, lacking=lacking)


def held_out_format(cohort: Cohort) -> Drawn:
    """Whether an answer stands where it should, at every evaluation (Fig. 5)."""
    names = capabilities_of(cohort.runs)
    every = {name: _curves(cohort, _capability(name, "formatted")) for name in names}
    curves = {name: found for name, found in every.items() if _lowest(found) < KEPT}
    kept = [name for name, found in every.items() if found and name not in curves]
    lacking = f"Left out: {listed(kept)}, where it is at least {KEPT} throughout" if kept else NO_STEPS
    return _draw(
        cohort,
        curves,
        name="held_out_format",
        title="Answers in the format",
        caption="Share of held-out completions with an answer where it should stand; a lost format is no lost skill.",
        ylabel="share",
        lacking=lacking,
    )


def lengths(cohort: Cohort) -> Drawn:
    """Completion and thinking lengths by domain in training, and on held-out examples (Figs. 6 and 7)."""
    curves: Curves = {}
    for found in filter(None, (LENGTH.fullmatch(name) for name in _names(cohort))):
        curves[f"{found[1]} {found[2]}: {found[3]}"] = _curves(cohort, _metric(found[0]))
    lacking = [] if any("thinking" in name for name in curves) else ["no run logged how long it thinks"]
    lacking += [] if curves else ["nor how long completions are by domain in training"]
    for name in capabilities_of(cohort.runs):
        curves[f"held-out tokens: {name}"] = _curves(cohort, _capability(name, "tokens"))
    return _draw(
        cohort,
        curves,
        name="lengths",
        title="Lengths of completions and thinking",
        caption="How long completions are, and the thinking in them; held-out: of greedy completions, in tokens.",
        ylabel="length",
        lacking=f"Left out: {', '.join(lacking)}" if lacking else "",
    )


def weights(cohort: Cohort) -> Drawn:
    """λ of every objective over steps, a panel for each group (Fig. 11)."""
    title, name = "Weights λ over time", "weights"
    caption = "λ of each objective, mean over seeds; 1 is no reweighting."
    objectives = _logged(cohort, "weight")
    groups = {
        label: {what: _lines(runs, _metric(f"weight/{what}")) for what in objectives}
        for label, runs in cohort.groups.items()
    }
    groups = {label: {what: c for what, c in found.items() if c} for label, found in groups.items()}
    groups = {label: found for label, found in groups.items() if found}
    if not groups:
        return Drawn(name, title, caption, lacking=NO_STEPS)
    colours = marks(list(cohort.groups))
    with styled():
        figure = new_figure(1.25 * -(-len(groups) // 2))
        for axis, (label, found) in zip(panels(figure, len(groups), 2, sharey=True), groups.items(), strict=True):
            for what, curves in found.items():
                look = objectives.index(what) % len(LINES)
                steps, values = _mean(curves)
                axis.plot(steps, values, color=OBJECTIVE_COLOURS[look], ls=LINES[look], lw=1.8, label=what)
            axis.axhline(1, color="0.6", lw=0.8)
            axis.set_title(label, color=colours[label].colour, fontweight="bold")
            axis.set(xlabel="step", ylabel="λ")
        for axis in figure.axes:  # which have one scale: after all of them are drawn
            tidy(axis, "λ")
        if all(value == 1 for found in groups.values() for lines in found.values() for value in _mean(lines)[1]):
            caption += " Here all are 1 throughout: nothing was reweighted, or the history was not full yet."
        everything = max(figure.axes, key=lambda axis: len(axis.get_legend_handles_labels()[0]))
        legend(figure, everything)
        ends = [
            f"{label}: " + ", ".join(f"{what} {_mean(c)[1][-1]:.3f}" for what, c in found.items())
            for label, found in groups.items()
        ]
        return Drawn(name, title, caption, f"{title}. At the last step, {'; '.join(ends)}.", svg(figure))


def _draw(
    cohort: Cohort, curves: Curves, *, name: str, title: str, caption: str, ylabel: str, lacking: str = NO_STEPS
) -> Drawn:
    """A panel for each entry of `curves`."""
    curves = {panel: found for panel, found in curves.items() if found}
    if not curves:
        return Drawn(name, title, caption, lacking=lacking)
    longest = max(len(curve) for found in curves.values() for lines in found.values() for curve in lines)
    caption += _how(cohort, longest)
    colours = marks(list(cohort.groups))
    with styled():
        figure = new_figure(-(-len(curves) // 3))
        axes = panels(figure, len(curves))
        for axis, (panel, found) in zip(axes, curves.items(), strict=True):
            for label, lines in found.items():
                _plot(axis, label, lines, colours[label])
            axis.set_title(panel)
            tidy(axis, ylabel)
        for axis in axes[-3:]:
            axis.set_xlabel("step")
        for axis in axes[::3]:
            axis.set_ylabel(ylabel)
        legend(figure, max(axes, key=lambda axis: len(axis.get_legend_handles_labels()[0])))
        alt = f"{title}, by step: {_ends(curves)}."
        return Drawn(
            name, title, caption, alt, svg(figure), lacking if lacking != NO_STEPS and "Left out" in lacking else ""
        )


def _plot(axis: Any, label: str, lines: Sequence[Curve], mark: Mark) -> None:
    """Every seed as a thin line, their mean as a thick one, and an interval over them where there are enough."""
    steps, values = _mean(lines)
    few = len(steps) < SMOOTHED
    draw = axis.plot
    for curve in lines if len(lines) > 1 else ():
        draw(*_thinned(list(curve), list(curve.values())), color=mark.colour, lw=0.8, alpha=0.45)
    if len(lines) >= BAND:
        at = [np.array([curve[step] for curve in lines]) for step in steps]
        low, high = (_thinned(steps, list(end))[1] for end in zip(*map(t_interval, at), strict=True))
        axis.fill_between(steps[:: _stride(steps)], low, high, color=mark.colour, alpha=0.15, lw=0)
    style = {"marker": mark.marker, "ms": 4.5} if few else {}
    draw(*_thinned(steps, values), color=mark.colour, lw=2, label=label, **style)


def _mean(lines: Sequence[Curve]) -> tuple[list[int], list[float]]:
    """Over the seeds, at the steps that all of them have."""
    steps = sorted(set(lines[0]).intersection(*lines))
    return steps, [float(np.mean([curve[step] for curve in lines])) for step in steps]


def _smooth(values: Sequence[float]) -> list[float]:
    """A running mean over a fortieth of a long curve; at its ends over what there is."""
    width = len(values) // SMOOTHED
    if width < 2:
        return list(values)
    kernel = np.ones(width)
    return list(np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same"))


def _stride(steps: Sequence[int]) -> int:
    """A panel has no more pixels than so many points."""
    return 1 + len(steps) // POINTS


def _thinned(steps: Sequence[int], values: Sequence[float]) -> tuple[Sequence[int], Sequence[float]]:
    return steps[:: _stride(steps)], _smooth(values)[:: _stride(steps)]


def _how(cohort: Cohort, longest: int) -> str:
    seeds = max(len(runs) for runs in cohort.groups.values())
    text = " Thick: mean over seeds; thin: each seed" + ("; band: 95 % by t over them." if seeds >= BAND else ".")
    text = text if seeds > 1 else ""
    return text + (f" Running means over {longest // SMOOTHED} steps." if longest >= 2 * SMOOTHED else "")


def _ends(curves: Curves) -> str:
    """First and last value of every line, in words."""
    said = []
    for panel, found in curves.items():
        ends = [(label, _mean(lines)[1]) for label, lines in found.items()]
        said.append(f"{panel} " + listed([f"{values[0]:.2f} to {values[-1]:.2f} ({label})" for label, values in ends]))
    return "; ".join(said)


def _curves(cohort: Cohort, of: Callable[[ReportedRun], Mapping[int, float]]) -> dict[str, list[Curve]]:
    found = {label: _lines(runs, of) for label, runs in cohort.groups.items()}
    return {label: lines for label, lines in found.items() if lines}


def _lines(runs: Sequence[ReportedRun], of: Callable[[ReportedRun], Mapping[int, float]]) -> list[Curve]:
    lines = [dict(sorted(curve.items())) for run in runs if (curve := of(run))]
    return lines if lines and set(lines[0]).intersection(*lines) else lines[:1]


def _lowest(found: Mapping[str, Sequence[Curve]]) -> float:
    return min((value for lines in found.values() for curve in lines for value in curve.values()), default=1.0)


def _metric(name: str) -> Callable[[ReportedRun], Mapping[int, float]]:
    return lambda run: run.series.get(name, {})


def _capability(name: str, what: str) -> Callable[[ReportedRun], Mapping[int, float]]:
    return lambda run: score_curve(run, name, what)


def _names(cohort: Cohort) -> list[str]:
    return sorted({name for run in cohort.runs for name in run.series})


def _logged(cohort: Cohort, prefix: str) -> list[str]:
    """What stands behind a prefix, over all runs; `reward/DOMAIN/OBJECTIVE` is left out."""
    return [name.partition("/")[2] for name in _names(cohort) if name.startswith(f"{prefix}/") and name.count("/") == 1]
