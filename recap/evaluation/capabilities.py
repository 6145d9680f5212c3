"""Capabilities: evaluated skills, measured before, during and after training on held-out examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import gin
from annotated_types import Ge, Gt

from recap.data.domains import scope_name
from recap.data.names import check_name
from recap.data.prompts import Asking
from registry.answer_places import AnswerPlaces, check_places
from registry.replay.base import ReplaySource
from registry.verifiers.base import Judge


@gin.configurable("Capability", module="recap")
@dataclass(frozen=True, kw_only=True)
class Capability(Asking):
    """One evaluated skill: held-out examples, asked greedily and judged by a verifier.

    Args:
        source: held-out examples; those at positions 0 to `examples` - 1 are used, the same at every evaluation. One with
            fewer is read once.
        verifier: what judges a completion; the score is its mean.
        answer: where a completion's answer stands, as in `Domain.answer`.
        examples: how many; all of a source that has no more.
        max_new_tokens: a completion longer than this is cut off.
        batch_size: prompts per process that are answered together, and whose pictures are in memory.
        samples: completions of each example that are sampled besides the greedy one: for pass@k, and for forgetting
            measured beside the noise of sampling.
        temperature: of those samples.
        name: the gin scope, unless given.
        prompt, system, shots, chat_arguments, max_prompt_tokens, long_prompts: how they are asked, see
            `recap.data.prompts.Asking`.
    """

    source: ReplaySource
    verifier: Judge
    answer: AnswerPlaces = "tags"
    examples: int = 256
    max_new_tokens: Annotated[int, Ge(1)] = 512
    batch_size: Annotated[int, Ge(1)] = 64
    samples: Annotated[int, Ge(0)] = 0
    temperature: Annotated[float, Gt(0)] = 1.0
    name: str = field(default_factory=lambda: scope_name("Capability"))

    def __post_init__(self) -> None:
        check_name(self.name, f"{self.name}/Capability.name")
        self.check_asking(f"{self.name}/Capability")
        check_places(self.answer, f"{self.name}/Capability.answer")
        if isinstance(self.verifier, type):
            raise ValueError(
                f"{self.name}/Capability.verifier is the class {self.verifier.__name__}: it lacks its parentheses, write"
                " @verifiers.name()"
            )
        if self.examples < 1:
            raise ValueError(f"{self.name}/Capability.examples must be at least 1; it is {self.examples}")
