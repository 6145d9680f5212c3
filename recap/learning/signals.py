"""What each objective reports to the reweighting policy after a step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from recap.data.domains import Domain
from recap.data.objectives import Objective
from recap.learning.loss import StepCounts, mean_losses
from registry.reweighting.base import SignalKind


class Signals:
    """The signal of an objective is a mean over the domains that carry it, each as heavy as the other.

    L_k is such a mean, and so is the signal of a mean reward: over completions, it would move with the mixture. A domain that
    the step did not hold reports what it did last; without, a shared objective would say whose turn it was, where domains
    take turns (`mixtures.alternate`), and a policy such as RECAP call that instability. A domain that was never drawn is
    left out, and an objective of which the step held no domain has no signal.

    Source: RECAP (arXiv 2510.21978v2) defines L_k over the domains of a mini-batch and is silent on rewards and on those
    absent; its public code keeps a history per domain and reward (`train.objective_scope = 'per_domain'`), where nothing
    of this matters.
    """

    def __init__(
        self, domains: Sequence[Domain], objectives: Sequence[Objective], kinds: Mapping[str, SignalKind]
    ) -> None:
        self._domains = [domain.name for domain in domains]
        self._objectives = list(objectives)
        self._kinds = dict(kinds)
        self._last: dict[str, dict[str, float]] = {objective.name: {} for objective in objectives}

    def __call__(self, counts: StepCounts, loss_sums: Tensor, reward_sums: Tensor) -> dict[str, float]:
        """The signals of the objectives that are present in a step.

        Args:
            counts: of the step, over all processes.
            loss_sums: [N, K], over the step, all processes; divided by the units that were counted, ℓ(n, k).
            reward_sums: [N, K], likewise; divided by the completions that were counted, mean rewards.
        """
        signals = {}
        for k, objective in enumerate(self._objectives):
            present = counts.present[:, k]
            if not present.any():
                continue
            kind = self._kinds[objective.name]
            if kind == "loss":
                own = _mean_loss(loss_sums, counts, k)
                values = loss_sums[:, k] / counts.units[:, k]
            else:
                own = _mean_reward(reward_sums[:, k], counts.items[:, k])
                values = reward_sums[:, k] / counts.items[:, k]
            held = {name: float(values[n]) for n, name in enumerate(self._domains) if present[n]}
            mean = self._with_absent(objective.name, own, held)
            signals[objective.name] = 1 - mean if kind == "shortfall" else mean
        return signals

    def _with_absent(self, objective: str, own: float, held: Mapping[str, float]) -> float:
        """The mean over domains of which the step held some, whose mean is `own`; remembers what those reported."""
        last = self._last[objective]
        absent = [value for name, value in last.items() if name not in held]
        last |= {name: value for name, value in held.items() if math.isfinite(value)}
        return (own * len(held) + math.fsum(absent)) / (len(held) + len(absent)) if absent else own

    def state_dict(self) -> dict[str, Any]:
        """What each domain reported last, by objective and domain."""
        return {name: dict(last) for name, last in self._last.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Goes on from a saved state; what it says of objectives and domains that are no more is left out."""
        for objective in self._objectives:
            found = state.get(objective.name, {})
            self._last[objective.name] = {name: found[name] for name in objective.domains if name in found}


def _mean_loss(loss_sums: Tensor, counts: StepCounts, k: int) -> float:
    """Over the domains of the step that carry objective k."""
    return float(mean_losses(loss_sums, counts)[k]) * counts.num_domains / int(counts.present[:, k].sum())


def _mean_reward(rewards: Tensor, items: Tensor) -> float:
    """Over domains, from the sum and the number of their rewards, [N]; where the numbers are equal, to the last digit what the
    mean over completions is."""
    most, present = items.max(), items > 0
    each = rewards * (most / items).where(present, items)
    return float(each.sum() / (most * present.sum()))
