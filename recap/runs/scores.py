"""The capability scores of a run, by step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from recap.evaluation.capabilities import CapabilityScore


class ScoreHistory(dict[int, dict[str, CapabilityScore]]):
    """Step -> capability -> score."""

    def mean(self, step: int) -> float | None:
        """Over the capabilities, where they were evaluated at this step and none is without examples."""
        scores = [score.score for score in self.get(step, {}).values()]
        mean = sum(scores) / len(scores) if scores else math.nan
        return mean if math.isfinite(mean) else None

    def is_best(self, step: int) -> bool:
        """Whether the model, after at least one step, had a higher mean at this step than at any other so far."""
        mean = self.mean(step)
        others = [self.mean(other) for other in self if other not in (0, step)]
        return step > 0 and mean is not None and all(other is None or mean > other for other in others)

    def state_dict(self) -> dict[int, dict[str, dict[str, Any]]]:
        return {step: {name: asdict(score) for name, score in scores.items()} for step, scores in self.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        """Takes what `state_dict` gave, as JSON has it: with steps as text."""
        self.clear()
        for step, scores in state.items():
            self[int(step)] = {name: CapabilityScore(**score) for name, score in scores.items()}


def score_metrics(scores: Mapping[str, CapabilityScore]) -> dict[str, float]:
    """The scores of one step under the names that they are logged with."""
    metrics: dict[str, float] = {}
    for name, score in scores.items():
        metrics |= {
            f"capability/{name}": score.score,
            f"capability_standard_error/{name}": score.standard_error,
            f"capability_formatted/{name}": score.formatted,
        }
    return metrics
