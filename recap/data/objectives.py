"""Objectives k = 1..K: what they are, and which domains carry them. Their loss is in `recap/learning/loss.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import gin
import torch
from torch import Tensor

ObjectiveScope = Literal["shared", "per_domain"]


@gin.configurable("next_token_prediction", module="recap")
@dataclass(frozen=True)
class NextTokenPrediction:
    """Imitates the reference: cross-entropy of the target's tokens, its end token included."""

    def gradient_scale(self, log_probs: Tensor) -> Tensor:
        """What the gradient of each target token is multiplied by: [T] -> [T]; `log_probs` are detached."""
        return torch.ones_like(log_probs)


@gin.configurable("confidence_scaled_prediction", module="recap")
@dataclass(frozen=True, kw_only=True)
class ConfidenceScaledPrediction(NextTokenPrediction):
    """Imitates the reference, the less the less the model believes it: unlikely targets do not tear at the weights.

    The gradient of the cross-entropy is multiplied by exp(-CE / τ), detached. Over a 'sequence' (CE: the target's mean) it
    is ConSFT's conservative loss sg[exp(-L / τ)] L (arXiv 2605.08879, equation 3), which is stated there for flow-matching
    losses; over a 'token' it is p^(1/τ), p the token's probability, and at τ = 1 DFT (arXiv 2508.05629).
    Differs from ConSFT: τ is constant, the paper anneals it. What is reported, as loss and as signal, stays the plain
    cross-entropy.

    Args:
        level: what the model's confidence is taken over, 'token' or 'sequence'.
        temperature: τ > 0; towards infinity the plain loss.

    Raises:
        ValueError: a level that does not exist, a temperature that is not positive.
    """

    level: Literal["token", "sequence"] = "token"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        where = "confidence_scaled_prediction"
        if self.level not in ("token", "sequence"):
            raise ValueError(f"{where}.level must be 'token' or 'sequence'; it is {self.level!r}")
        if not self.temperature > 0:
            raise ValueError(f"{where}.temperature must be > 0; it is {self.temperature}")

    def gradient_scale(self, log_probs: Tensor) -> Tensor:
        confidence = log_probs if self.level == "token" else log_probs.mean().expand_as(log_probs)
        return (confidence / self.temperature).exp()


@dataclass(frozen=True)
class Objective:
    """One objective: its name in logs and in policies, and the domains that carry it.

    Attributes:
        name: as bound in gin; ``domain/name`` where the scope is per domain.
        supervised: trained on references, not by reinforcement.
        domains: names of its domains.
    """

    name: str
    supervised: bool
    domains: tuple[str, ...]


class CarriesObjectives(Protocol):
    """What is asked of a domain here: its name, and its objectives by their local names."""

    @property
    def name(self) -> str: ...

    @property
    def objectives(self) -> Mapping[str, object]: ...

    @property
    def supervised(self) -> Mapping[str, NextTokenPrediction]: ...


def objective_name(domain: str, name: str, scope: ObjectiveScope) -> str:
    return name if scope == "shared" else f"{domain}/{name}"


def collect_objectives(domains: Sequence[CarriesObjectives], scope: ObjectiveScope) -> list[Objective]:
    """The objectives of an experiment, in the order in which its domains name them.

    Raises:
        ValueError: one name for a verifier here and next-token prediction there.
    """
    found: dict[str, Objective] = {}
    for domain in domains:
        for local in domain.objectives:
            name = objective_name(domain.name, local, scope)
            supervised = local in domain.supervised
            known = found.get(name)
            if known and known.supervised != supervised:
                raise ValueError(
                    f"objective {name!r} is a verifier in one domain and next_token_prediction in another"
                    f" ({', '.join(known.domains)}; {domain.name}): give them different names"
                )
            found[name] = Objective(name, supervised, (*(known.domains if known else ()), domain.name))
    return list(found.values())
