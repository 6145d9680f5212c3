"""What the study compares: every registered reweighting policy, RECAP's ablations, and the gradient methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch

from recap.optimization.gradients import AGGREGATORS, build_aggregator
from recap.studies.two_task.problem import TASKS, Array
from registry import reweighting_policies
from registry.reweighting.base import ReweightingPolicy

Group = Literal["policy", "gradient method", "reading", "alpha", "temperature"]

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "famo": {"lower_bound": -21.0},  # as in its authors' toy study
    "static": {"weights": {"L1": 2.0, "L2": 1.0}},
}
"""Parameters of policies whose default would be uniform here, or knows nothing of losses below 0."""

LEFT_OUT: Mapping[str, str] = {
    "kl_only": "it is uniform here, where no model is there for its KL term",
    "schedule": "its weights are the user's; static stands for it here",
}

RANDOM_AGGREGATORS = frozenset({"graddrop"})
"""Those that draw random numbers; the others see no noise at all, so that one seed says everything."""

NASH_EVERY = 10
"""Steps between two solutions of Nash-MTL's problem, milliseconds each; its paper offers the same economy."""


@dataclass(frozen=True)
class Method:
    """One row of the study: a policy or gradient method and its parameters."""

    name: str
    group: Group
    part: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def deterministic(self) -> bool:
        """Whether seeds make no difference."""
        return self.group == "gradient method" and self.part not in RANDOM_AGGREGATORS

    def start(self, seeds: Sequence[int]) -> Rule:
        """The rule for trajectories with these seeds, one each. Raises: ValueError: a missing package."""
        if self.group == "gradient method":
            return Aggregation(self.part, seeds)
        return Reweighting([self._policy(seed) for seed in seeds])

    def _policy(self, seed: int) -> ReweightingPolicy:
        seeded = {"seed": seed} if "seed" in reweighting_policies.get(self.part).parameters else {}
        policy: ReweightingPolicy = reweighting_policies.build(
            self.part, objectives=TASKS, **seeded, **dict(self.parameters)
        )
        return policy


class Rule(Protocol):
    """Turns the losses and gradients of a step into a direction to descend, for n trajectories at once."""

    def direction(self, losses: Array, gradients: Array) -> Array:
        """losses: [n, 2], L1 with its noise; gradients: [n, 2 (k), 2 (j)] -> [n, 2 (j)]."""

    @property
    def weight_spread(self) -> float:
        """Largest minus smallest weight, mean over steps and trajectories; NaN where there are no weights."""


class Reweighting:
    """(1/K) Σ_k λ_k ∇L_k with the weights of one reweighting policy per trajectory, which sees the noisy losses."""

    def __init__(self, policies: Sequence[ReweightingPolicy]) -> None:
        self._policies = policies
        self._spreads: list[float] = []

    def direction(self, losses: Array, gradients: Array) -> Array:
        lam = np.array([self._weights(*step) for step in zip(self._policies, losses, gradients, strict=True)])
        self._spreads.append(float(np.ptp(lam, axis=1).mean()))
        return np.asarray(np.einsum("nk,nkj->nj", lam, gradients) / len(TASKS), dtype=np.float64)

    @property
    def weight_spread(self) -> float:
        return float(np.mean(self._spreads))

    def _weights(self, policy: ReweightingPolicy, losses: Array, gradients: Array) -> list[float]:
        before = None if policy.same_step else policy.weights
        if policy.needs_gradient_norms:
            norms = np.linalg.norm(gradients, axis=1)
            policy.observe_gradient_norms(dict(zip(TASKS, norms.tolist(), strict=True)))
        policy.update(dict(zip(TASKS, losses.tolist(), strict=True)))
        lam = policy.weights if before is None else before
        return [lam[task] for task in TASKS]


class Aggregation:
    """A gradient method; one aggregator per trajectory, as some keep a state."""

    weight_spread = float("nan")

    def __init__(self, name: str, seeds: Sequence[int]) -> None:
        self._aggregators = [build_aggregator(name, len(TASKS)) for _ in seeds]
        if name == "nash_mtl":
            for aggregator in self._aggregators:
                setattr(aggregator, "update_weights_every", NASH_EVERY)  # noqa: B010  a property that types call a tensor
        self._generator_states = [torch.Generator().manual_seed(seed).get_state() for seed in seeds]

    def direction(self, losses: Array, gradients: Array) -> Array:
        found = []
        with torch.random.fork_rng(devices=[]):  # aggregators draw from torch's own generator
            for index, aggregator in enumerate(self._aggregators):
                torch.set_rng_state(self._generator_states[index])
                found.append(aggregator(torch.from_numpy(gradients[index])).numpy())
                self._generator_states[index] = torch.get_rng_state()
        return np.stack(found)


def all_methods() -> tuple[list[Method], list[str]]:
    """Every method that can be built here, and a line for each that is left out, with the reason."""
    methods, notes = [], [f"{name} is left out: {reason}" for name, reason in LEFT_OUT.items()]
    for entry in reweighting_policies.entries():
        if entry.name not in LEFT_OUT:
            methods.append(Method(entry.name, "policy", entry.name, SETTINGS.get(entry.name, {})))
    methods += [Method(name, "gradient method", name) for name in AGGREGATORS]
    methods += ablations()
    buildable = []
    for method in methods:
        try:
            method.start([0])
        except (ValueError, TypeError) as error:
            notes.append(f"{method.name} is left out: {error}")
        else:
            buildable.append(method)
    return buildable, notes


def ablations() -> list[Method]:
    """RECAP over α (T = 5) and over T (s = c + i), and with what the paper's versions do differently."""
    return [
        *(Method(f"α = {alpha:g}", "alpha", "recap", {"alpha": alpha}) for alpha in (0.0, 0.25, 0.5, 0.75, 1.0)),
        *(Method(f"T = {t:g}", "temperature", "recap", {"temperature": t}) for t in (0.1, 1.0, 10.0, 30.0)),
        Method("v1 convergence", "reading", "recap", {"convergence": "v1"}),
        Method("pseudocode spread", "reading", "recap", {"spread": "window_mean"}),
    ]
