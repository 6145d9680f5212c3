"""Which ways a model was settled for at their first use, as MLflow takes it."""

from __future__ import annotations

import math
from typing import Any

from transformers import PreTrainedModel

from recap.model.decoding import decoding_way
from recap.model.scoring import Scorer, Scoring
from recap.model.settling import Settled


def ways_taken(model: PreTrainedModel, scorer: Scorer) -> dict[str, Settled[Any]]:
    """By what they are ways of: 'decoding', 'scoring', 'prefix' (scoring behind the rollout's prompts).

    Holds what has been used so far; what is settled stays so for the life of the process.

    Args:
        model: the one that samples.
        scorer: of the one that is trained; they are the same model unless that is sharded.
    """
    ways = {"decoding": decoding_way(model), "scoring": scorer.settled, "prefix": scorer.continues}
    return {name: settled for name, settled in ways.items() if settled is not None}


def tags(ways: dict[str, Settled[Any]]) -> dict[str, str]:
    """The way taken ('shared', 'rows', ..., 'plain' where nothing is saved), and where it is not the first choice, why."""
    found = {}
    for name, settled in ways.items():
        found[f"way/{name}"] = _named(settled.way)
        if settled.fell_back:
            found[f"way/{name}/fallback"] = settled.reason
    return found


def _named(way: Any) -> str:
    match way:
        case Scoring(shared_prefix=shared):
            return "shared" if shared else "plain"
        case bool():
            return "reused" if way else "computed again"
    return str(way)


def metrics(ways: dict[str, Settled[Any]]) -> dict[str, float]:
    """Whether it fell back, and how far the first choice was from the plain way beside what rounding does, in nats."""
    found = {}
    for name, settled in ways.items():
        found[f"way/{name}/fell_back"] = float(settled.fell_back)
        measured = {"difference": settled.difference, "rounding": settled.rounding}
        found |= {f"way/{name}/{key}": value for key, value in measured.items() if math.isfinite(value)}
    return found
