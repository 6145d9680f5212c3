"""What is said of malformed examples that were skipped."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator

from recap.data.domains import Domain
from recap.parallel.processes import total


def malformed_metrics(domains: Sequence[Domain], accelerator: Accelerator) -> dict[str, float]:
    """How many each domain has skipped so far, over all processes; domains without are left out."""
    own = torch.tensor([float(domain.source.malformed.total()) for domain in domains], device=accelerator.device)
    counts = total(accelerator, own).tolist()
    return {f"malformed/{domain.name}": count for domain, count in zip(domains, counts, strict=True) if count}


def malformed_lines(domains: Sequence[Domain]) -> list[str]:
    """A line for each domain that has skipped any on this process, with the commonest reasons."""
    lines = []
    for domain in domains:
        if found := domain.source.malformed:
            shown = "; ".join(f"{reason} (x {count})" for reason, count in found.most_common(3))
            lines.append(f"{domain.name}: skipped {found.total()} malformed examples: {shown}")
    return lines
