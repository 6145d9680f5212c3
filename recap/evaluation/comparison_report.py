"""A comparison as text, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table

from recap.evaluation.comparison import Comparison, Contrast, verdict
from recap.evaluation.statistics import Interval, detectable_within


def tables(found: Comparison) -> list[Table]:
    """Levels, changes from the base, differences from the baseline, and what happened to single examples."""
    changes = "change from the base, over seeds"
    result = [levels_table(found), _contrasts(found, found.changes, changes), _examples(found.changes, "the base")]
    if found.differences:
        title = f"difference from {found.baseline}, over matched seeds"
        result += [
            _contrasts(found, found.differences, title),
            _examples(found.differences, found.baseline),
        ]
    return result


def footnotes(found: Comparison) -> list[str]:
    """What a reader has to know to read the tables, and what the design could not have shown."""
    lines = [
        "95 % intervals. t: over seeds, on these examples; crossed: over seeds and examples. Holm: p by t, adjusted for the"
        " rows of its table. sign flip: exact, with S seeds at least 2 / 2^S. could find: with a chance of 80 %, by seeds as"
        " these.",
    ]
    if found.margin is None:
        lines.append("'open' is no equality: give --margin to test for equivalence.")
    else:
        lines.append(f"equivalent: within ± {found.margin:g}, by two one-sided tests at 5 % each.")
    fewest = min((contrast.difference.seeds for contrast in [*found.changes, *found.differences]), default=0)
    if fewest == 1:
        lines.append("One seed says nothing of other seeds: what is of one shows its examples alone.")
    elif fewest < 6:
        floor = 2 / 2**fewest
        lines.append(f"With {fewest} seeds the sign-flip test cannot go below p = {floor:.3g}; six reach 0.031.")
    return lines


def levels_table(found: Comparison) -> Table:
    """Every group's scores, means over its seeds with intervals by t, beside the base model's."""
    table = _table(f"score at step {found.step}, mean over seeds", "capability", "n", "base", *found.levels)
    for name, (score, error) in found.base.items():
        cells = [_with(level[name].mean, level[name].interval) for level in found.levels.values()]
        table.add_row(name, str(found.examples[name]), f"{score:.3f} ± {error:.3f}", *cells)
    index = [_with(mean, interval) for mean, interval in found.index.values()]
    table.add_row("forgetting index", "", "", *index)
    table.add_row("seeds", "", "", *(", ".join(map(str, seeds)) for seeds in found.seeds.values()))
    return table


def _contrasts(found: Comparison, contrasts: Sequence[Contrast], title: str) -> Table:
    headers = ["group", "capability", "seeds", "difference", "t", "crossed", "p", "Holm", "sign flip"]
    equivalence = [] if found.margin is None else [f"p (± {found.margin:g})"]
    table = _table(title, *headers, *equivalence, "could find", "verdict")
    for contrast in contrasts:
        d = contrast.difference
        p_values = [d.p_t, d.p_holm, d.p_sign_flip, *([] if found.margin is None else [d.p_equivalent])]
        table.add_row(
            contrast.group,
            contrast.capability,
            str(d.seeds),
            f"{d.mean:+.3f}",
            _interval(d.interval),
            _interval(d.crossed),
            *map(_p, p_values),
            _number(d.detectable),
            verdict(d, found.margin),
        )
    return table


def _examples(contrasts: Sequence[Contrast], other: str) -> Table:
    headers = ["group", "capability", "kept", "lost", "gained", "neither", "McNemar's p, seed by seed", "n could find"]
    table = _table(
        f"single examples, from {other} to the group, summed over seeds (right: a score of 0.5 or more)", *headers
    )
    for contrast in contrasts:
        parts = list(contrast.within.values())
        counts = [sum(getattr(part, name) for part in parts) for name in ("kept", "lost", "gained", "neither")]
        n = sum(counts) // len(parts)
        p_values = ", ".join(_p(part.p) for part in parts)
        table.add_row(
            contrast.group,
            contrast.capability,
            *map(str, counts),
            p_values,
            _number(detectable_within(n, contrast.discordant)),
        )
    return table


def _table(title: str, *headers: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def _with(mean: float, interval: Interval) -> str:
    ends = "" if math.isnan(interval.low) else f" [{interval.low:.3f}, {interval.high:.3f}]"
    return f"{mean:.3f}{ends}"


def _interval(interval: Interval) -> str:
    return "-" if math.isnan(interval.low) else f"[{interval.low:+.3f}, {interval.high:+.3f}]"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _p(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
