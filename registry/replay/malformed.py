"""What a source has skipped: how many, by kind, and the first of each kind in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from registry.example import MalformedExample, kind_of

LISTED = 3
"""Messages kept of each kind: a data set with a million bad rows needs no more memory than one with ten."""
MOST_KINDS = 30
OTHER = "of other kinds"


class Malformed:
    """Counts malformed examples.

    Attributes:
        counts: how many of each kind.
        first: the first messages of each kind, `LISTED` at most; each names source and row.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, list[str]] = {}

    def add(self, error: MalformedExample) -> None:
        """Counts one."""
        self._add(error.kind, 1, [str(error)])

    def total(self) -> int:
        return self.counts.total()

    @property
    def listed(self) -> list[str]:
        """The messages that were kept, the commonest kind first."""
        return [message for kind, _ in self.counts.most_common() for message in self.first.get(kind, ())]

    def state_dict(self) -> dict[str, Any]:
        return {"counts": dict(self.counts), "first": {kind: list(found) for kind, found in self.first.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over a state; one of an older version, message -> count, too."""
        self.__init__()  # type: ignore[misc]
        if not isinstance(state.get("counts"), Mapping):
            for message, count in state.items():
                self._add(kind_of(message), count, [message])
            return
        for kind, count in state["counts"].items():
            self._add(kind, count, state["first"].get(kind, ()))

    def _add(self, kind: str, count: int, messages: Iterable[str]) -> None:
        if kind not in self.counts and len(self.counts) >= MOST_KINDS:
            kind = OTHER
        self.counts[kind] += count
        kept = self.first.setdefault(kind, [])
        kept += list(messages)[: LISTED - len(kept)]


def merged(states: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The state of what several processes have skipped together."""
    together = Malformed()
    for state in states:
        own = Malformed()
        own.load_state_dict(state)
        for kind, count in own.counts.items():
            together._add(kind, count, own.first[kind])
    return together.state_dict()
