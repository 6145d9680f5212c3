"""What a run needs of its data before its first step: every source opened, its first rows read.

Opening may mean to download and to build for hours. Left to the first step it would happen on those processes that draw of a
source, while the others wait in a collective that has a time-out.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from recap.data.domains import Domain
from recap.evaluation.capabilities import Capability
from recap.experiment.experiment import Experiment
from registry.example import MalformedExample
from registry.replay.base import ReplaySource
from registry.replay.selection import Selection

ROWS = 16  # first ones, that are read


@dataclass(frozen=True)
class OpenedSource:
    """A source that can be drawn from.

    Attributes:
        binding: where it is bound: ``grounding/Domain.source``.
        length: of the source; None where it has no end, or none that is known yet.
        read: first rows that were read, pictures decoded.
        malformed: how many of them cannot be used.
        seconds: that opening and reading took.
    """

    binding: str
    length: int | None
    read: int
    malformed: int
    seconds: float

    def __str__(self) -> str:
        rows = "no known end" if self.length is None else f"{self.length:,} rows"
        spoilt = f" ({self.malformed} malformed)" if self.malformed else ""
        return f"{self.binding}: {rows}, the first {self.read} read{spoilt}, {self.seconds:.1f} s"


def sources_of(experiment: Experiment) -> dict[str, ReplaySource]:
    """Of training and of evaluation, by where they are bound."""
    parts: Sequence[Domain | Capability] = [*experiment.domains, *experiment.capabilities]
    return {f"{part.name}/{type(part).__name__}.source": part.source for part in parts}


def open_sources(experiment: Experiment) -> list[OpenedSource]:
    """Opens every source of an experiment; raises ValueError at the first that cannot be used."""
    return [open_source(binding, source) for binding, source in sources_of(experiment).items()]


def open_source(binding: str, source: ReplaySource) -> OpenedSource:
    """Opens a source and reads its first rows; it stays where it is, and counts nothing as drawn.

    Raises:
        ValueError: it cannot be opened, or none of the first rows can be used.
    """
    started = time.perf_counter()
    try:
        source.check()
        # To count what a filter keeps would be to look at all of it.
        length = None if isinstance(source, Selection) else source.length
        faults = []
        read = ROWS if length is None else min(ROWS, length)
        for position in range(read):
            try:
                source.example(position)
            except MalformedExample as error:
                faults.append(str(error))
        if len(faults) == read:
            reason = f"; the first: {faults[0]}" if faults else ""
            raise ValueError(f"none of the first {read} rows can be used{reason}")
    except (ValueError, OSError) as error:
        raise ValueError(f"{binding}: {error}") from error
    return OpenedSource(binding, length, read, len(faults), time.perf_counter() - started)
