"""The drift of groups of runs as a table, for `recap compare`."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from rich import box
from rich.table import Table

from recap.evaluation.comparable import Group
from recap.evaluation.drift_prompts import KINDS
from recap.evaluation.statistics import Interval, t_interval


def drift_levels(groups: Mapping[str, Group]) -> dict[str, dict[str, dict[str, tuple[float, Interval]]]]:
    """Group -> kind of prompt -> direction -> mean over seeds and its 95 % interval by t, in nats per token.

    Of groups of which every run has measured that kind at the step that is compared.
    """
    found: dict[str, dict[str, dict[str, tuple[float, Interval]]]] = {}
    for label, group in groups.items():
        measured = [run.about.get("drift", {}) for run in group.values()]
        for kind in KINDS:
            if all(kind in drift for drift in measured):
                values = {name: [drift[kind][name]["mean"] for drift in measured] for name in measured[0][kind]}
                found.setdefault(label, {})[kind] = {
                    name: (float(np.mean(means)), t_interval(np.array(means))) for name, means in values.items()
                }
    return found


def drift_table(groups: Mapping[str, Group], step: int) -> Table | None:
    """A row for each group and kind of prompt; None where no group has measured any."""
    levels = drift_levels(groups)
    if not levels:
        return None
    title = f"drift from the base at step {step}, nats per token, mean over seeds"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for header in ("group", "prompts", "KL(model‖base)", "KL(base‖model)"):
        table.add_column(header, overflow="fold")
    for label, kinds in levels.items():
        for kind, directions in kinds.items():
            table.add_row(label, kind, *(_cell(*directions[name]) for name in ("kl_model_base", "kl_base_model")))
    return table


def _cell(mean: float, interval: Interval) -> str:
    ends = "" if math.isnan(interval.low) else f" [{interval.low:.4f}, {interval.high:.4f}]"
    return f"{mean:.4f}{ends}"
