"""What sources around other sources have in common: `limit`, `concatenate`, `filter`, `coreset` and the like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from registry.replay.base import ReplaySource


class Wrapper(ReplaySource):
    """A source made of others. It asks them for positions of its own choice; theirs stay where they are.

    Args:
        sources: what is wrapped; none of them may be used by anything else, as its state is kept here.
        seed: of whatever the wrapper draws.
    """

    def __init__(self, sources: Sequence[ReplaySource], seed: int | None = None) -> None:
        super().__init__(seed)
        self.sources = tuple(sources)

    def take_seed(self, seed: int) -> None:
        super().take_seed(seed)
        for source in self.sources:
            source.take_seed(seed)

    @property
    def origins(self) -> Sequence[str]:
        return [origin for source in self.sources for origin in source.origins]

    @property
    def is_open(self) -> bool:
        return all(source.is_open for source in self.sources)

    @property
    def at_hand(self) -> bool:
        return all(source.at_hand for source in self.sources)

    def check(self) -> None:
        for source in self.sources:
            source.check()

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"sources": [source.state_dict() for source in self.sources]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for source, own in zip(self.sources, state.get("sources", ()), strict=False):
            source.load_state_dict(own)
