"""A source whose targets are often careless: something for reinforcement to choose from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from registry import replay_sources
from registry.example import Example
from registry.replay.base import ReplaySource

THOUGHT = "<think>guess</think>"
KEY = 0xCA7E1E55  # of this source's random numbers, beside seed and position


@replay_sources.register("careless")
class Careless(ReplaySource):
    """The examples of another source whose answer is a whole number, with targets of mixed quality.

    What a language model has read was written by many hands: some think, some guess, some forget the format. A base model
    that imitated only the careful ones has nothing left that reinforcement could choose from.

    Of the targets, `guesses` are ``<think>guess</think>`` with a number near the right one, which it is one time in
    2 `spread` + 1, and `untagged` (of all, careful and careless alike) have no tags.

    Args:
        source: has the questions, answers and careful targets.
        guesses: share of targets that guess, 0 to 1.
        untagged: share of targets without tags, 0 to 1.
        spread: a guess lies no further from the answer than this; >= 0.
        seed: seeds which are which; >= 0. None: from that of the run.

    Raises:
        ValueError: a share outside 0 to 1, or a negative spread; at an example, an answer that is no whole number.
    """

    def __init__(
        self,
        source: ReplaySource,
        guesses: float = 0.5,
        untagged: float = 0.2,
        spread: int = 3,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        for name, share in (("guesses", guesses), ("untagged", untagged)):
            if not 0 <= share <= 1:
                raise ValueError(f"replay.careless: {name} must be from 0 to 1, not {share}")
        if spread < 0:
            raise ValueError(f"replay.careless: spread must be >= 0, not {spread}")
        self.source = source
        self.guesses = guesses
        self.untagged = untagged
        self.spread = spread

    def take_seed(self, seed: int) -> None:
        super().take_seed(seed)
        self.source.take_seed(seed)

    @property
    def length(self) -> int | None:
        return self.source.length

    def check(self) -> None:
        self.source.check()

    def example(self, position: int) -> Example:
        example = self.source.example(position)
        rng = np.random.default_rng([KEY, self.seed, position])
        target = example.supervised_target
        if rng.random() < self.guesses:
            target = f"{THOUGHT}<answer>{self._guess(example, rng)}</answer>"
        if rng.random() < self.untagged:
            for tag in ("<think>", "</think>", "<answer>", "</answer>"):
                target = target.replace(tag, " " if tag == "</think>" else "")
        return replace(example, target=target)

    def _guess(self, example: Example, rng: np.random.Generator) -> int:
        try:
            right = int(example.answer)
        except ValueError:
            raise ValueError(f"replay.careless: example {example.id!r} has no whole number for an answer") from None
        return max(0, right + int(rng.integers(-self.spread, self.spread + 1)))

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"source": self.source.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.source.load_state_dict(state["source"])
