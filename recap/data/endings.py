"""Sources that end: which examples a step may still draw, and when there is no step any more.

Everything follows from the positions of the sources, which are the same on every process and kept in checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from recap.data.domains import Domain
from recap.data.mixtures import Mixture
from registry.replay.base import ReplaySource


def next_step(
    domains: Sequence[Domain],
    mixture: Mixture,
    prompts: int,
    step: int,
    positions: Mapping[str, int] | None = None,
) -> dict[str, int] | None:
    """Prompts of each domain in a step; None where the run is over.

    It is over where a domain that ends it was gone through, or where those that are left cannot fill a step.

    Args:
        positions: of the sources; None: where they stand.
    """
    left = {domain.name: _left(domain, positions) for domain in domains}
    if any(domain.at_end == "end_run" and left[domain.name] == 0 for domain in domains):
        return None
    counts = mixture.allocate(domains, prompts, step, left)
    return counts if sum(counts.values()) == prompts else None


def course(domains: Sequence[Domain], mixture: Mixture, prompts: int, steps: int) -> Iterator[dict[str, int]]:
    """The prompts of each domain in every step of a run from its start, until it is over.

    Draws and downloads nothing: a source that is not at hand is taken to have no end.
    """
    positions = {domain.name: 0 for domain in domains}
    for step in range(steps):
        counts = next_step(domains, mixture, prompts, step, positions)
        if counts is None:
            return
        yield counts
        for name, count in counts.items():
            positions[name] += count


def early_end(taken: int, steps: int) -> list[str]:
    """The line that says why a run took fewer steps than it was to take; none of one that took all."""
    return (
        [f"over after {taken} of {steps} steps: the sources of its domains were gone through"] if taken < steps else []
    )


def at_hand(source: ReplaySource) -> bool:
    """Whether a source's length can be had at once: it is on this machine, and what is wrapped in it too."""
    try:
        source.check()
    except ValueError:
        return False
    return source.at_hand


def _left(domain: Domain, positions: Mapping[str, int] | None) -> int | None:
    if domain.at_end == "repeat":
        return None
    length = domain.source.length if positions is None or at_hand(domain.source) else None
    position = domain.source.position if positions is None else positions[domain.name]
    return None if length is None else max(0, length - position)
