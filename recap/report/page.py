"""The page: what was found in words, every figure, a table of the numbers, and the forgotten examples."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from recap.report import curves, levels
from recap.report.changes import Change, changes_of, differences_of
from recap.report.cohort import Cohort
from recap.report.examples import forgotten_examples
from recap.report.style import Drawn, marks
from recap.report.words import between, how_real, opening, verdicts

BINDINGS = 5  # that are shown of each group


@dataclass(frozen=True)
class Report:
    """A report: what it says, and what it draws.

    Attributes:
        html: one page that needs nothing else.
        figures: that are in it.
    """

    html: str
    figures: Sequence[Drawn]


def write_report(cohort: Cohort) -> Report:
    """Computes, draws and writes a report on runs."""
    changes, differences = changes_of(cohort), differences_of(cohort)
    figures = [
        levels.change_figure(cohort, changes),
        curves.forgetting_curve(cohort),
        levels.frontier_figure(cohort),
        levels.final_bars(cohort, changes),
        curves.rewards(cohort),
        curves.held_out_format(cohort),
        curves.convergence(cohort),
        curves.instability(cohort),
        curves.weights(cohort),
        curves.lengths(cohort),
    ]
    page = _template().render(
        groups=_groups(cohort),
        opening=opening(cohort),
        said=_said(changes, differences, cohort),
        real=how_real(changes, differences),
        figures=figures,
        changes=[_row(change) for change in changes],
        differences=[_row(change) for change in differences],
        baseline=next(iter(cohort.groups)),
        forgotten=forgotten_examples(cohort),
        notes=[*cohort.notes, *(f"left out: {line}" for line in cohort.left_out), *_lacking(cohort)],
    )
    return Report(page, figures)


def _said(changes: Sequence[Change], differences: Sequence[Change], cohort: Cohort) -> list[dict[str, str]]:
    """Group by group: its colour, what became of the base model, and how it ended against the first group."""
    colours = marks(list(cohort.groups))
    against = between(differences, next(iter(cohort.groups)))
    return [
        {"label": label, "colour": colours[label].colour, "text": text, "against": against.get(label, "")}
        for label, text in verdicts(cohort, changes).items()
    ]


def _groups(cohort: Cohort) -> list[dict[str, Any]]:
    colours = marks(list(cohort.groups))
    return [
        {
            "label": label,
            "colour": colours[label].colour,
            "runs": [run.name for run in runs],
            "seeds": [run.about["seed"] for run in runs],
            "domains": ", ".join(cohort.domains(label)) or "not known",
            "distinct": _first(cohort.distinct[label]),
        }
        for label, runs in cohort.groups.items()
    ]


def _first(bindings: Sequence[str]) -> list[str]:
    """The bindings that say most, those of the training first."""
    joined = [binding.replace("= \\ ", "= ") for binding in bindings]
    ranked = sorted(joined, key=lambda binding: not binding.startswith("train."))
    more = [f"and {len(ranked) - BINDINGS} more"] if len(ranked) > BINDINGS else []
    return [*ranked[:BINDINGS], *more]


def _row(change: Change) -> dict[str, str]:
    said = {1: "higher", -1: "lower", 0: "open"}[change.sign]
    return {
        "group": change.group,
        "capability": change.capability,
        "before": f"{change.before:.3f}",
        "after": f"{change.after:.3f}",
        "mean": f"{change.mean:+.3f}",
        "interval": f"[{change.interval.low:+.3f}, {change.interval.high:+.3f}]",
        "basis": f"{len(change.by_seed)} seeds" if change.basis == "seeds" else "1 seed, its examples",
        "holm": "–"
        if change.p_holm != change.p_holm
        else "<0.001"
        if change.p_holm < 0.001
        else f"{change.p_holm:.3f}",
        "said": said,
    }


def _lacking(cohort: Cohort) -> list[str]:
    return [f"{run.name}: {line}" for run in cohort.runs for line in run.lacking]


def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["inline"] = _inline
    return environment.from_string((files("recap") / "templates" / "report.html").read_text(encoding="utf-8"))


def _inline(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
