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

    @property
    def needs_lengths(self) -> bool:
        """Whether the shares follow from how long the sources are, which may take a download to know."""
        return False

    @abstractmethod
    def rates(self, domains: Sequence[Domain], step: int) -> list[float]:
        """The share of each domain, >= 0; need not sum to 1. Asked while the step before is trained: it cannot count."""

    def allocate(
        self, domains: Sequence[Domain], prompts: int, step: int, left: Mapping[str, int | None] | None = None
    ) -> dict[str, int]:
        """Prompts of each domain in this step; they follow the rates within one prompt.

        Args:
            left: examples that a domain may still give; None, or no entry: any number. What one cannot give, others do.

        Returns: counts that sum to `prompts`, or to less where all that may give have no more.
        """
        left = left or {}
        counts = {domain.name: 0 for domain in domains}
        room = {name: prompts if (most := left.get(name)) is None else most for name in counts}
        while missing := prompts - sum(counts.values()):
            gone = frozenset(name for name in counts if counts[name] >= room[name])
            more = self.share(domains, missing, step, gone)
            if not any(more.values()):
                break
            for name, count in more.items():
                counts[name] += min(count, room[name] - counts[name])
        return counts

    def share(self, domains: Sequence[Domain], prompts: int, step: int, gone: frozenset[str]) -> dict[str, int]:
        """As `allocate`, whatever is left of those that are not gone; all zero where no rate is left.

        Systematic sampling: `prompts` equally spaced points on a line cut into segments as long as the rates. The points
        are shifted from step to step by the golden ratio, so that over the steps every domain gets its exact share.
        """
        wanted = zip(domains, self.rates(domains, step), strict=True)
        rates = {domain.name: 0.0 if domain.name in gone else rate for domain, rate in wanted}
        total = sum(rates.values())
        shift = (step * GOLDEN_RATIO) % 1.0
        counts, start = {}, 0.0
        for name, rate in rates.items():
            end = start + (rate / total * prompts if total else 0.0)
            counts[name] = _points(end, shift) - _points(start, shift)
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

    @property
    def needs_lengths(self) -> bool:
        return True

    def rates(self, domains: Sequence[Domain], step: int) -> list[float]:
        return _sizes(domains, {}, "mixtures.proportional")


@gin.configurable("temperature", module="mixtures")
class Temperature(Mixture):
    """Every domain as often as its size to the power 1 / T: small ones more often than in proportion.

    Source: multilingual pretraining (XLM, arXiv 1901.07291; mT5, arXiv 2010.11934). T = 1 is in proportion, T = inf uniform.

    Args:
        temperature: T > 0.
        sizes: domain name -> size, where it is not the length of the domain's source: as published, or of one without end.

    Raises:
        ValueError: a temperature or size out of range, or a source without length that no size is given for.
    """

    def __init__(self, temperature: float, sizes: Mapping[str, float] | None = None) -> None:
        if not temperature > 0:
            raise ValueError(f"mixtures.temperature.temperature must be > 0; it is {temperature}")
        if any(not 0 < size < math.inf for size in (sizes or {}).values()):
            raise ValueError(f"mixtures.temperature.sizes must be > 0; they are {dict(sizes or {})}")
        self._temperature = temperature
        self._sizes = dict(sizes or {})

    @property
    def needs_lengths(self) -> bool:
        return True

    def rates(self, domains: Sequence[Domain], step: int) -> list[float]:
        _check_names(self._sizes, domains, "mixtures.temperature.sizes")
        return [size ** (1 / self._temperature) for size in _sizes(domains, self._sizes, "mixtures.temperature")]


def _sizes(domains: Sequence[Domain], given: Mapping[str, float], where: str) -> list[float]:
    sizes = {domain.name: given.get(domain.name) or domain.source.length for domain in domains}
    endless = [name for name, size in sizes.items() if size is None]
    if endless:
        raise ValueError(
            f"{where} needs sources of known length; {', '.join(endless)} has none: use mixtures.weighted with rates of"
            " your own, or mixtures.temperature with sizes"
        )
    return [float(size or 0) for size in sizes.values()]


def _check_names(given: Mapping[str, object], domains: Sequence[Domain], where: str) -> None:
    names = [domain.name for domain in domains]
    for name in given:
        if name not in names:
            near = near_matches(name, names)
            hint = f"; did you mean {near[0]}?" if near else f"; domains: {', '.join(names)}"
            raise ValueError(f"{where} names {name!r}, which is no domain{hint}")


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
        _check_names(self._rates, domains, "mixtures.weighted.rates")
        names = [domain.name for domain in domains]
        missing = [name for name in names if name not in self._rates]
        if missing:
            raise ValueError(f"mixtures.weighted.rates has no rate for {', '.join(missing)}")
        return [self._rates[name] for name in names]


@gin.configurable("quotas", module="mixtures")
class Quotas(Mixture):
    """So many prompts of a domain in every step; the others share what remains.

    Args:
        prompts: domain name -> prompts of a step, over all processes.
        rest: how the domains that are not named share the rest; None: equally.

    Raises:
        ValueError: a name that is no domain, a negative number, more than a step has, or a rest that nobody takes.
    """

    def __init__(self, prompts: Mapping[str, int], rest: Mixture | None = None) -> None:
        if any(count < 0 for count in prompts.values()):
            raise ValueError(f"mixtures.quotas.prompts must be >= 0; they are {dict(prompts)}")
        self._quotas = dict(prompts)
        self._rest = rest or Uniform()

    @property
    def needs_lengths(self) -> bool:
        return self._rest.needs_lengths

    def rates(self, domains: Sequence[Domain], step: int) -> list[float]:
        return [float(self._quotas.get(domain.name, 0)) for domain in domains]

    def allocate(
        self, domains: Sequence[Domain], prompts: int, step: int, left: Mapping[str, int | None] | None = None
    ) -> dict[str, int]:
        _check_names(self._quotas, domains, "mixtures.quotas.prompts")
        others = [domain for domain in domains if domain.name not in self._quotas]
        asked = sum(self._quotas.values())
        if asked > prompts or (asked < prompts and not others):
            raise ValueError(
                f"mixtures.quotas.prompts are {asked} together, train.prompts_per_step is {prompts}"
                + ("" if others else ", and there is no other domain for the rest")
            )
        left = left or {}
        counts = {domain.name: self._quotas.get(domain.name, 0) for domain in domains}
        for name, count in counts.items():
            most = left.get(name)
            counts[name] = count if most is None else min(count, most)
        counts |= self._rest.allocate(others, prompts - sum(counts.values()), step, left)
        missing = prompts - sum(counts.values())
        if missing:  # those without a quota have no more: those with one give it
            rest = {name: None if (most := left.get(name)) is None else most - counts[name] for name in counts}
            for name, count in super().allocate(domains, missing, step, rest).items():
                counts[name] += count
        return counts


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

    @property
    def needs_lengths(self) -> bool:
        return self._mixture is not None and self._mixture.needs_lengths

    def rates(self, domains: Sequence[Domain], step: int) -> list[float]:
        return [1.0] * len(domains) if self._mixture is None else self._mixture.rates(domains, step)

    def allocate(
        self, domains: Sequence[Domain], prompts: int, step: int, left: Mapping[str, int | None] | None = None
    ) -> dict[str, int]:
        if prompts % self._turns:
            raise ValueError(
                f"mixtures.alternate.turns = {self._turns} cannot share train.prompts_per_step = {prompts} equally"
            )
        return super().allocate(domains, prompts, step, left)

    def share(self, domains: Sequence[Domain], prompts: int, step: int, gone: frozenset[str]) -> dict[str, int]:
        turns = self._turns if prompts % self._turns == 0 else 1  # what one could not give, another gives at once
        counts = {domain.name: 0 for domain in domains}
        for turn in range(step * turns, (step + 1) * turns):
            for name in self._next(domains, turn, gone):
                counts[name] += prompts // turns
        return counts

    def _next(self, domains: Sequence[Domain], turn: int, gone: frozenset[str]) -> list[str]:
        """Whose turn it is, counted over the whole run; nobody's where all are gone."""
        if self._mixture is not None:
            return [name for name, chosen in self._mixture.share(domains, 1, turn, gone).items() if chosen]
        alive = [domain.name for domain in domains if domain.name not in gone]
        return [alive[turn % len(alive)]] if alive else []
