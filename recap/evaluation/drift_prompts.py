"""The prompts that drift is measured on: trained on, replayed, and held-out ones of skills that no domain trains."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from recap.data.domains import Domain
from recap.data.prompts import Prompt
from recap.evaluation.capabilities import Capability
from recap.evaluation.held_out import origins
from recap.evaluation.identity import digest_of
from registry.example import MalformedExample

Kind = Literal["trained", "replayed", "untrained"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class DriftPrompt:
    """One of the prompts.

    Attributes:
        kind: what training does with prompts of its kind.
        asking: the domain or capability that it is of.
        digest: of question and pictures.
    """

    kind: Kind
    asking: Domain | Capability
    prompt: Prompt
    digest: str


def drift_prompts(
    domains: Sequence[Domain], capabilities: Sequence[Capability], replayed: Sequence[str], count: int
) -> list[DriftPrompt]:
    """The first prompts of each kind, dealt evenly over the domains or capabilities of that kind.

    Args:
        replayed: names of domains; what is called so counts as no untrained skill either, also where there is no such domain:
            runs with and without replay are measured on the same untrained ones.
        count: of each kind; fewer where the sources have no more.
    """
    members: dict[Kind, list[Domain | Capability]] = {
        "trained": [domain for domain in domains if domain.name not in replayed],
        "replayed": [domain for domain in domains if domain.name in replayed],
        "untrained": [one for one in capabilities if one.name not in replayed and not _trained(one, domains)],
    }
    found = []
    for kind, parts in members.items():
        for number, part in enumerate(parts):
            share = count // len(parts) + (number < count % len(parts))
            found += _first(kind, part, share)
    return found


def _trained(capability: Capability, domains: Sequence[Domain]) -> bool:
    """Whether a domain has its name, or reads its table."""
    tables = origins(capability.source)
    return any(capability.name == domain.name or tables & origins(domain.source) for domain in domains)


def _first(kind: Kind, part: Domain | Capability, count: int) -> list[DriftPrompt]:
    """Of a domain the first that it trains on; its source is led back to where it was, as a stream has to be."""
    source, found = part.source, list[DriftPrompt]()
    before = copy.deepcopy(source.state_dict())
    for position in range(2 * count if source.length is None else min(2 * count, source.length)):
        if len(found) == count:
            break
        try:
            example = source.example(position)
        except MalformedExample:
            continue
        found.append(DriftPrompt(kind, part, part.ask(example), digest_of(example)))
    source.load_state_dict(before)
    return found
