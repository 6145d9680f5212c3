"""What is said of malformed examples that were skipped, and how many they are after a resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from recap.data.domains import Domain
from recap.parallel.processes import total
from registry.replay.base import ReplaySource
from registry.replay.malformed import Malformed, merged

KINDS = 8  # that are said


class HasSource(Protocol):
    """A domain or a capability."""

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> ReplaySource: ...


def malformed_metrics(domains: Sequence[Domain], accelerator: Accelerator) -> dict[str, float]:
    """How many each domain has skipped so far, over all processes; domains without are left out."""
    own = torch.tensor([float(domain.source.malformed.total()) for domain in domains], device=accelerator.device)
    counts = total(accelerator, own).tolist()
    return {f"malformed/{domain.name}": count for domain, count in zip(domains, counts, strict=True) if count}


def malformed_lines(skipping: Sequence[HasSource], accelerator: Accelerator, what: str = "") -> list[str]:
    """Lines for each that has skipped any, over all processes: how many of which kind, the first of them with their rows."""
    lines = []
    own = [one.source.malformed.state_dict() for one in skipping]
    for one, state in zip(skipping, _over_processes(own, accelerator), strict=True):
        found = Malformed()
        found.load_state_dict(state)
        if not found.total():
            continue
        kinds = "; ".join(f"{kind} (x {count})" for kind, count in found.counts.most_common(KINDS))
        more = f"; {len(found.counts) - KINDS} more kinds" if len(found.counts) > KINDS else ""
        lines.append(f"{what}{one.name}: skipped {found.total()} malformed examples: {kinds}{more}")
        lines += [f"  {message}" for kind, _ in found.counts.most_common(KINDS) for message in found.first[kind]]
    return lines


def source_states(states: Mapping[str, dict[str, Any]], accelerator: Accelerator) -> dict[str, dict[str, Any]]:
    """For a checkpoint: where each source stands, and what all processes together have skipped of it."""
    together = _over_processes([state["malformed"] for state in states.values()], accelerator)
    named = zip(states.items(), together, strict=True)
    return {name: state | {"malformed": skipped} for (name, state), skipped in named}


def load_source_states(
    domains: Sequence[Domain], states: Mapping[str, Mapping[str, Any]], accelerator: Accelerator
) -> None:
    """Restores them on any number of processes: what was skipped is counted by the first one, as all counts are sums."""
    for domain in domains:
        domain.source.load_state_dict(dict(states[domain.name]))
        if not accelerator.is_main_process:
            domain.source.malformed = Malformed()


def _over_processes(own: list[dict[str, Any]], accelerator: Accelerator) -> list[dict[str, Any]]:
    """What each source has skipped, as states, over all processes, on all of them."""
    every = [own] if accelerator.num_processes == 1 else gather_object([own])
    return [merged(states) for states in zip(*every, strict=True)]
