"""How everything in a report looks: colours that the colour-blind tell apart, sizes, and figures as SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555")  # Okabe and Ito's
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
OBJECTIVE_COLOURS = ("#332288", "#117733", "#aa4499", "#999933", "#88ccee", "#882255", "#44aa99")  # Tol's muted
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
WIDTH, COLUMNS, HEIGHT = 9.0, 3, 2.3  # inches: of a figure, and of a panel; panels of a row
NARROW = 6.6  # inches, of what a telephone should show whole
LETTERS = 11  # of a label that an inch holds
BAND = 3  # seeds from which on an interval over them is drawn around curves and bars: that of two fills the panel
SHARES = ("score", "share", "mean reward")
NARROWEST = {
    **dict.fromkeys(SHARES, 0.2),
    "λ": 0.1,
    "c": 0.2,
    "i": 0.1,
}  # of an axis by what it shows; else a tenth of the values
LOOK: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "axes.edgecolor": "#888888",
    "legend.frameon": False,
    "svg.hashsalt": "recap",  # the same runs give the same bytes
}


class Mark(NamedTuple):
    """How one group is drawn, in every figure."""

    colour: str
    marker: str


@dataclass(frozen=True)
class Drawn:
    """One figure of a report.

    Attributes:
        name: of its file.
        title: above it.
        caption: what it shows, and how to read it.
        alt: what it shows, for who does not see it.
        svg: the picture; None where there is nothing to draw.
        lacking: why there is none, or what is left out of it.
    """

    name: str
    title: str
    caption: str
    alt: str = ""
    svg: bytes | None = None
    lacking: str = ""


def marks(groups: Sequence[str]) -> dict[str, Mark]:
    """Group -> how it is drawn; where colours come again, with another marker, so that 49 groups can be told apart."""
    return {
        label: Mark(COLOURS[n % len(COLOURS)], MARKERS[(n + n // len(COLOURS)) % len(MARKERS)])
        for n, label in enumerate(groups)
    }


def new_figure(rows: float, width: float = WIDTH) -> Figure:
    """A figure of so many rows of panels."""
    return Figure(figsize=(width, HEIGHT * rows + 0.5), layout="constrained")


def panels(figure: Figure, count: int, columns: int = COLUMNS, **how: Any) -> list[Any]:
    """`count` axes in rows of `columns`."""
    grid = figure.subplots(-(-count // columns), columns, squeeze=False, **how).ravel()
    for spare in grid[count:]:
        spare.set_visible(False)
    return list(grid[:count])


def legend(figure: Figure, axis: Any) -> None:
    """The groups, above all panels."""
    handles, labels = axis.get_legend_handles_labels()
    if labels:
        fit = int(figure.get_figwidth() * LETTERS // (max(map(len, labels)) + 7))
        across = max(1, min(4, fit, len(labels)))
        figure.set_figheight(figure.get_figheight() + 0.2 * (-(-len(labels) // across) - 1))
        figure.legend(handles, labels, loc="outside upper left", ncols=across)


def tidy(axis: Any, what: str) -> None:
    """Whole steps; and no axis so narrow that the noise of one example fills it, nor beyond what a score can be."""
    axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axis.margins(x=0.03, y=0.12)
    low, high = axis.get_ylim()
    least = NARROWEST.get(what, 0.1 * max(abs(low), abs(high)))
    spare = max(0.0, least - (high - low)) / 2
    low, high = low - spare, high + spare
    if what in SHARES and high > 1.02:
        low, high = max(-0.02, low - (high - 1.02)), 1.02
    if what in (*SHARES, "i", "length") and low < 0:
        low, high = -0.02 * high, high - low
    axis.set_ylim(low, high)


def svg(figure: Figure) -> bytes:
    """Letters as outlines: it looks the same wherever it is opened."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def styled() -> Any:
    """The look of all figures, while it lasts."""
    return rc_context(LOOK)


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them."""
    if not names:
        return "nothing"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
