"""The draw: which examples of which domains a step is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from recap.data.domains import Domain
from recap.data.endings import next_step
from recap.data.mixtures import Mixture
from recap.data.prompts import Prompt


class Drawn(NamedTuple):
    """A prompt, and the domain that it was drawn from."""

    domain: Domain
    prompt: Prompt


def draw(
    domains: Sequence[Domain], mixture: Mixture, prompts: int, *, step: int, rank: int, processes: int
) -> list[Drawn]:
    """This process's share of a step's prompts, domains taking turns so that micro-batches are alike.

    Args:
        prompts: of the step, over all processes.
        step: counted from 0.

    Raises:
        ValueError: the run is over (`recap.data.endings.next_step`).
    """
    allocation = next_step(domains, mixture, prompts, step)
    if allocation is None:
        raise ValueError(f"step {step} has nothing to draw: the sources of its domains were gone through")
    dealt, shares = 0, []
    for domain in domains:
        # A domain's first prompt goes to the rank after the one that got the last domain's last prompt: otherwise the
        # low ranks would get every domain's odd prompt.
        first = (rank - dealt + domain.source.position) % processes
        examples = domain.source.take(allocation[domain.name], first, processes)
        dealt += allocation[domain.name]
        shares.append([Drawn(domain, domain.ask(domain.fill(example))) for example in examples])
    longest = max(map(len, shares))
    return [share[turn] for turn in range(longest) for share in shares if turn < len(share)]
