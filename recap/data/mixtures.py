"""Mixtures: how many prompts of a step each domain gets.

The step loss is a mean over the domains of the step, L_k = (1/N) Σ_n ℓ(n, k), and ℓ(n, k) a mean over a domain's
prompts. More prompts of a domain in one step thus make its ℓ(n, k) less noisy, not heavier. For proportions that act
on the gradient (propmix, MoDoMoDo) let them decide which domain a step holds: `alternate` around another mixture.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import gin

from recap.data.domains import Domain
from registry.core import near_matches

GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


class Mixture(ABC):
    """Shares out the prompts of a step."""

    @abstractmethod
    def rates(self, domains: Sequence[Domain], step: int) -> list[float]:
        """The share of each domain, >= 0; need not sum to 1."""

    def allocate(self, domains: Sequence[Domain], prompts: int, step: int) -> dict[str, int]:
        """Prompts of each domain in this step; they sum to `prompts` and follow the rates within one prompt.

        Systematic sampling: `prompts` equally spaced points on a line cut into segments as long as the rates. The points
        are shifted from step to step by the golden ratio, so that over the steps every domain gets its exact share.
        """
        rates = self.rates(domains, step)
        total = sum(rates)
        shift = (step * GOLDEN_RATIO) % 1.0
        counts, start = {}, 0.0
        for domain, rate in zip(domains, rates, strict=True):
            end = start + rate / total * prompts
            counts[domain.name] = _points(end, shift) - _points(start, shift)
            start = end
        return counts


def _points(end: float, shift: float) -> int:
    """How many of the points shift, 1 + shift, 2 + shift, ... lie below `end`."""
    return math.ceil(round(end - shift, 9))


@gin.configurable("uniform", module="mixtures")
class Uniform(Mixture):
    """Every domain equally often (the paper's default)."""

    def rates(self, domains: Sequence[Domain], step: int) -> list[float]:
        return [1.0] * len(domains)


@gin.configurable("proportional", module="mixtures")
class Proportional(Mixture):
    """Every domain in proportion to the length of its source (propmix).

    Raises:
        ValueError: a source without length.
    """

    def rates(self, domains: Sequence[Domain], step: int) -> list[float]:
        lengths = {domain.name: domain.source.length for domain in domains}
        endless = [name for name, length in lengths.items() if length is None]
        if endless:
            raise ValueError(
                f"mixtures.proportional needs sources of known length; {', '.join(endless)} has none:"
                " use mixtures.weighted with rates of your own"
            )
        return [float(length or 0) for length in lengths.values()]


@gin.configurable("weighted", module="mixtures")
class Weighted(Mixture):
    """Rates of your own, domain name -> rate.

    Raises:
        ValueError: a name that is no domain, a domain without rate, a negative rate, or nothing but zeros.
    """

    def __init__(self, rates: Mapping[str, float]) -> None:
        if any(rate < 0 or not math.isfinite(rate) for rate in rates.values()) or sum(rates.values()) <= 0:
            raise ValueError(f"mixtures.weighted.rates must be >= 0 and not all zero; they are {dict(rates)}")
        self._rates = dict(rates)

    def rates(self, domains: Sequence[Domain], step: int) -> list[float]:
        names = [domain.name for domain in domains]
        for name in self._rates:
            if name not in names:
                near = near_matches(name, names)
                hint = f"; did you mean {near[0]}?" if near else f"; domains: {', '.join(names)}"
                raise ValueError(f"mixtures.weighted.rates names {name!r}, which is no domain{hint}")
        missing = [name for name in names if name not in self._rates]
        if missing:
            raise ValueError(f"mixtures.weighted.rates has no rate for {', '.join(missing)}")
        return [self._rates[name] for name in names]


@gin.configurable("alternate", module="mixtures")
class Alternate(Mixture):
    """One domain at a time: in turn, or as often as another mixture says.

    A turn is a batch of one domain. Source: the public code, whose micro-batches over all GPUs hold one domain each.

    Args:
        mixture: how often each domain has its turn; None: all in turn, in the order of `train.domains`.
        turns: turns in a step, which share its prompts equally (the public code: its accumulation steps).

    Raises:
        ValueError: fewer than one turn, or prompts that the turns cannot share equally.
    """

    def __init__(self, mixture: Mixture | None = None, turns: int = 1) -> None:
        if turns < 1:
            raise ValueError(f"mixtures.alternate.turns must be at least 1; it is {turns}")
        self._mixture = mixture
        self._turns = turns

    def rates(self, domains: Sequence[Domain], step: int) -> list[float]:
        """Of turn number `step`, counted over the whole run."""
        if self._mixture is not None:
            return self._mixture.rates(domains, step)
        return [float(index == step % len(domains)) for index in range(len(domains))]

    def allocate(self, domains: Sequence[Domain], prompts: int, step: int) -> dict[str, int]:
        each, left_over = divmod(prompts, self._turns)
        if left_over:
            raise ValueError(
                f"mixtures.alternate.turns = {self._turns} cannot share train.prompts_per_step = {prompts} equally"
            )
        counts = {domain.name: 0 for domain in domains}
        for turn in range(step * self._turns, (step + 1) * self._turns):
            for name, chosen in super().allocate(domains, 1, turn).items():
                counts[name] += each * chosen
        return counts
