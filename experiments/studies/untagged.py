"""A plugin for the signal study: another source, its targets without tags.

A model that has imitated them writes the right words in the wrong format: the format is then what it has to learn first.
"""

from __future__ import annotations

import re
from dataclasses import replace

from registry import replay_sources
from registry.example import Example
from registry.replay.base import ReplaySource


@replay_sources.register("untagged")
class Untagged(ReplaySource):
    """The examples of another source; what is imitated has spaces where there were tags.

    Args:
        source: whose examples.
    """

    def __init__(self, source: ReplaySource) -> None:
        super().__init__(source.seed)
        self.source = source

    def take_seed(self, seed: int) -> None:
        self.source.take_seed(seed)

    @property
    def length(self) -> int | None:
        return self.source.length

    def check(self) -> None:
        self.source.check()

    def example(self, position: int) -> Example:
        example = self.source.example(position)
        words = re.sub(r"<[^>]*>", " ", example.supervised_target).split()
        return replace(example, id=f"untagged/{example.id}", target=" ".join(words))
