"""The capability scores of a run, by step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from recap.evaluation.forgetting import below_peak, forgetting_index, kept_share, measures, pass_at_k
from recap.evaluation.outcomes import Outcomes
from recap.evaluation.score_table import matched_tables, score_table
from recap.evaluation.scores import CapabilityScore


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
            f"capability_lenient/{name}": score.lenient,
            f"capability_tokens/{name}": score.tokens,
        }
    return metrics


def forgetting_metrics(base: Outcomes, now: Outcomes, history: ScoreHistory) -> dict[str, float]:
    """What became of the base model's capabilities, under the names that it is logged with; see docs/forgetting.md.

    Args:
        base: outcomes of the model before its first step.
        now: of the same examples at the newest step of `history`.
    """
    metrics: dict[str, float] = {}
    retentions = []
    for kind, reading in {"": {}, "_lenient": {"lenient": True}, "_sampled": {"sampled": True}}.items():
        for name, before, after in matched_tables(base, now, **reading):
            found = measures(before.scores, after.scores, before.chance)
            metrics |= {
                f"{measure}{'' if measure == 'noise_floor' else kind}/{name}": value for measure, value in found.items()
            }
            if not kind:
                retentions.append(kept_share(found))
    for name in (name for name in now if name in base):
        # A run that was resumed with other capabilities has steps without some.
        metrics[f"below_peak/{name}"] = below_peak(
            [scores[name].score for _, scores in sorted(history.items()) if name in scores]
        )
    metrics["forgetting_index"] = forgetting_index(retentions)
    return metrics


def sample_metrics(now: Outcomes) -> dict[str, float]:
    """pass@1 and pass@m of the capabilities with m samples."""
    metrics: dict[str, float] = {}
    for name, rows in now.items():
        scores = score_table(rows, sampled=True).scores
        if scores.size:
            metrics |= {f"pass_at_{k}/{name}": pass_at_k(scores, k) for k in {1, scores.shape[1]}}
    return metrics
