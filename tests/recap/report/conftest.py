"""Made-up run directories whose numbers are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from recap.evaluation.outcomes import Outcome, write_outcomes

Scores = Mapping[int, Mapping[str, Sequence[float]]]
"""Step -> capability -> score of every example."""


@pytest.fixture
def made(tmp_path: Path, outcome: Callable[..., Outcome]) -> Callable[..., Path]:
    """A run directory from the scores of its examples, and metrics that MLflow has not got."""

    def make(
        policy: str, seed: int, scores: Scores, metrics: Mapping[str, Mapping[int, float]] | None = None, **values: Any
    ) -> Path:
        directory = tmp_path / "runs" / f"{policy}-{seed}"
        about = {
            "run": policy,
            "seed": seed,
            "model": "tiny",
            "settings": {"reweighting": policy.title(), "domains": "sums"},
            "configuration": f"train.reweighting = @reweighting.{policy}\ntrain.seed = {seed}\n",
            "capabilities": {name: {"prompt": "{question}"} for name in next(iter(scores.values()))},
            **values,
        }
        for step, found in scores.items():
            rows = {name: [outcome(n, score) for n, score in enumerate(of)] for name, of in found.items()}
            write_outcomes(directory / "outcomes" / f"step-{step:06d}.parquet", rows, {**about, "step": step})
        entries = [
            {"step": step, "at": 0, "values": {name: value}}
            for name, points in (metrics or {}).items()
            for step, value in points.items()
        ]
        (directory / "tracking").mkdir()
        (directory / "tracking" / "queue.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        return directory

    return make
