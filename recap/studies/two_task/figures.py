"""Trajectories over the contours of L1 + L2, a panel per method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from recap.studies.two_task.front import pareto_front
from recap.studies.two_task.measures import TOLERANCE
from recap.studies.two_task.problem import STARTS, Array, TwoTask
from recap.studies.two_task.study import Outcome

X1 = (-11.0, 11.0)
X2 = (-12.0, 11.0)
COLUMNS = 6
START_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a4b00")  # told apart by the colour-blind
FRONT_COLOR = "#e3b505"


def draw(outcomes: Sequence[Outcome], problem: TwoTask, path: Path) -> None:
    """One panel per outcome: the first seed's trajectories, from circle to cross, and where x is on the front."""
    columns = min(COLUMNS, len(outcomes))
    rows = math.ceil(len(outcomes) / columns)
    figure = Figure(figsize=(2.4 * columns, 2.7 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    grid = np.stack(np.meshgrid(np.linspace(*X1, 221), np.linspace(*X2, 231)), axis=-1)
    for panel in panels.flat[len(outcomes) :]:
        panel.axis("off")
    for panel, outcome in zip(panels.flat, outcomes, strict=False):
        _background(panel, problem, grid)
        for index, color in enumerate(START_COLORS):
            _trajectory(panel, outcome.drawn[:, index], color)
        panel.set_title(_title(outcome), fontsize=9)
        panel.tick_params(labelsize=7)
    for panel in panels[:, 0]:
        panel.set_ylabel("x2", fontsize=8)
    for column in range(columns):
        lowest = (len(outcomes) - 1 - column) // columns
        panels[lowest, column].set_xlabel("x1", fontsize=8)
        panels[lowest, column].tick_params(labelbottom=True)
    figure.legend(handles=_legend(problem), loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    figure.savefig(path, dpi=100, bbox_inches="tight")


def _background(panel: Any, problem: TwoTask, grid: Array) -> None:
    losses = problem.losses(grid)
    x1, x2 = grid[..., 0], grid[..., 1]
    panel.contour(x1, x2, losses.sum(axis=-1), levels=24, colors="0.65", linewidths=0.5, linestyles="solid")
    front = pareto_front(problem)
    panel.contourf(x1, x2, front.distance(losses), levels=[0, TOLERANCE], colors=[FRONT_COLOR], alpha=0.45)
    panel.plot(*front.positions.T, color="black", linewidth=2)
    panel.set(xlim=X1, ylim=X2, aspect="equal", xticks=[-10, -5, 0, 5, 10], yticks=[-10, -5, 0, 5, 10])


def _trajectory(panel: Any, positions: Array, color: str) -> None:
    panel.plot(*positions.T, color=color, linewidth=1.3)
    panel.plot(*positions[0], "o", color=color, markersize=4.5)
    # A trajectory may end below the frame: its cross then stands at the edge.
    panel.plot(*np.clip(positions[-1], [X1[0], X2[0] + 0.3], X1[1]), "x", color=color, markersize=5, clip_on=False)


def _title(outcome: Outcome) -> str:
    reached = sum(int(np.isfinite(measures.first_step).sum()) for measures in outcome.measures)
    return f"{outcome.method.name}   {reached}/{outcome.seeds * len(STARTS)}"


def _legend(problem: TwoTask) -> list[Any]:
    line = [Line2D([], [], color="black", linewidth=2, label="Pareto front")] if problem.functions == "cagrad" else []
    return [
        *line,
        Patch(color=FRONT_COLOR, alpha=0.45, label=f"within {TOLERANCE} of the front"),
        Line2D([], [], color="grey", marker="o", linestyle="", markersize=5, label="start"),
        Line2D([], [], color="grey", marker="x", linestyle="", markersize=5, label="last step"),
        Line2D([], [], linestyle="", label="n/N: trajectories that reached it"),
    ]
