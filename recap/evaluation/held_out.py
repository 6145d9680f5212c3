"""Held out? Whether a domain trains on examples that a capability is measured on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from recap.data.domains import Domain
from recap.evaluation.capabilities import Capability
from recap.evaluation.identity import digest_of
from recap.evaluation.outcomes import Outcomes
from registry.example import Example, MalformedExample
from registry.replay.base import MissingData, ReplaySource

PROBED = 64
"""Examples of a source that `recap check` looks at."""

LOOK_S = 1.0
"""For how long a run that starts looks at what it will train on; a source without pictures gives thousands in that time."""


@dataclass(frozen=True)
class HeldOut:
    """The held-out examples of one capability: their ids and digests."""

    capability: Capability
    ids: frozenset[str]
    digests: frozenset[str]


def held_out_of(capabilities: Sequence[Capability], outcomes: Outcomes) -> list[HeldOut]:
    """All held-out examples, from an evaluation of them."""
    return [
        HeldOut(capability, frozenset(row.example for row in rows), frozenset(row.digest for row in rows))
        for capability in capabilities
        if (rows := outcomes.get(capability.name, []))
    ]


def probe(capabilities: Sequence[Capability], count: int = PROBED) -> list[HeldOut]:
    """The first held-out examples of the capabilities whose data is here."""
    found = []
    for capability in capabilities:
        if capability.source.is_open:
            examples = list(_first(capability.source, min(count, capability.examples)))
            ids = frozenset(example.id for example in examples)
            found.append(HeldOut(capability, ids, frozenset(map(digest_of, examples))))
    return found


def overlap(
    domains: Sequence[Domain], held_out: Sequence[HeldOut], *, count: int = PROBED, seconds: float = LOOK_S
) -> list[str]:
    """A line for each domain and capability that share examples: the same question and pixels, or the same id of one table.

    Args:
        count: how many of each domain's first examples are looked at, in the order of training.
        seconds: for how long, over all domains.
    """
    lines: list[str] = []
    until = time.monotonic() + seconds
    for number, domain in enumerate(domains):
        enough = time.monotonic() + (until - time.monotonic()) / (len(domains) - number)
        looked: dict[str, str] = {}
        for example in _first(domain.source, count) if domain.source.is_open else ():
            looked[example.id] = digest_of(example)
            if time.monotonic() > enough:
                break
        lines += [line for part in held_out if (line := _shared(domain, part, looked))]
    return lines


def shared_tables(domains: Sequence[Domain], capabilities: Sequence[Capability]) -> list[str]:
    """A line for each domain and capability that read the same table, as their settings say: nothing is opened."""
    return [
        f"{domain.name} trains on the table that {capability.name} is measured on: {', '.join(sorted(both))}"
        for domain in domains
        for capability in capabilities
        if (both := origins(domain.source) & origins(capability.source))
    ]


def _shared(domain: Domain, held_out: HeldOut, looked: Mapping[str, str]) -> str:
    """The line for one domain, of which some examples were looked at (id -> digest); empty where none is held out."""
    found = {name: "question and pictures" for name, digest in looked.items() if digest in held_out.digests}
    tables, theirs = origins(domain.source), origins(held_out.capability.source)
    if tables & theirs:  # elsewhere an id says little: every table has a first row
        found |= {name: "id" for name in looked if name in held_out.ids and name not in found}
    if not found:
        return ""
    same = " or ".join(sorted(set(found.values()), reverse=True))
    return (
        f"{domain.name} trains on examples that {held_out.capability.name} is measured on: of its first {len(looked)},"
        f" {len(found)} have the same {same} as a held-out example, e.g. {min(found)}"
    )


def origins(source: ReplaySource) -> set[str]:
    try:
        return set(source.origins)
    except MissingData:  # said elsewhere
        return set()


def _first(source: ReplaySource, count: int) -> Iterator[Example]:
    """The first examples of a source, whose state is left alone."""
    for position in range(count if source.length is None else min(count, source.length)):
        try:
            yield source.example(position)
        except MalformedExample:
            continue
