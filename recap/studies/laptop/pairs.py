"""The primary number between any two arms as CSV, for what a reader asks that the protocol did not."""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path

from recap.studies.laptop.endpoint import contrast
from recap.studies.laptop.runs import Runs

COLUMNS = ("form", "arm", "other", "seeds", "difference", "low", "high", "p", "p_sign_flip", "p_equivalent")


def write_pairs(runs: Runs, path: Path, form: str) -> None:
    """A row for every two arms that share seeds: the first minus the second, in scores, its interval of 95 % by t, and p.

    No p is adjusted: whoever picks a row after looking at all has chosen it among as many.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for arm, other in combinations(runs, 2):
            if (found := contrast(runs, arm, other)) is not None:
                numbers = (found.mean, *found.interval, found.p_t, found.p_sign_flip, found.p_equivalent)
                rows.writerow([form, arm, other, found.seeds, *(f"{number:.6f}" for number in numbers)])
