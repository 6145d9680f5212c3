"""A run ends with what it did to every capability, and with where it is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from scipy import stats

from recap.evaluation.outcomes import Outcome, write_outcomes
from recap.runs.announce import last_lines


def evaluated(run: Path, outcome: Callable[..., Outcome], step: int, scores: Sequence[float]) -> None:
    rows = [outcome(position, score) for position, score in enumerate(scores)]
    write_outcomes(run / "outcomes" / f"step-{step:06d}.parquet", {"counting": rows}, {})


def said(run: Path) -> str:
    (run / "tracking").mkdir(parents=True, exist_ok=True)
    place = {"uri": "sqlite:///mlflow.db", "run_id": "a" * 32, "experiment_id": "1"}
    (run / "tracking" / "where.json").write_text(json.dumps(place))
    console = Console(width=120)
    with console.capture() as captured:
        for line in last_lines(run):
            console.print(line, soft_wrap=True)
    return captured.get()


def test_the_table_holds_both_scores_and_the_paired_change(tmp_path: Path, outcome: Callable[..., Outcome]) -> None:
    evaluated(tmp_path, outcome, 0, [1, 0, 0, 0])
    evaluated(tmp_path, outcome, 3, [0, 0, 0, 0])  # neither of the two that are compared
    evaluated(tmp_path, outcome, 7, [1, 1, 1, 0])
    half = stats.t.ppf(0.975, 3) * math.sqrt(1 / 3 / 4)  # differences 0, 1, 1, 0: mean 1/2, variance 1/3
    text = said(tmp_path)
    assert "after step 7" in text
    assert text.split("counting")[1].split()[:6] == ["4", "0.250", "0.750", "+0.500", "±", f"{half:.3f}"]
    assert text.index("counting") < text.index(f"run directory: {tmp_path}") < text.index(f"recap ui {tmp_path}")


def test_a_run_that_was_evaluated_once_has_no_table(tmp_path: Path, outcome: Callable[..., Outcome]) -> None:
    evaluated(tmp_path, outcome, 0, [1, 0])
    assert said(tmp_path).startswith("run directory")
