"""`RewardTable`: the rewards of a rollout, as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class RewardTable:
    """Rewards of the P groups of a rollout.

    Attributes:
        rewards: [P, G, K].
        applies: [P, G, K], false where objective k says nothing about the completion.
        domain_index: [P].
        left_out: completions that a verifier failed on, and to which therefore no objective applies.
        faults: why a verifier gave no reward, by prompt, completion and objective.
    """

    rewards: Tensor
    applies: Tensor
    domain_index: Tensor
    left_out: int = 0
    faults: Mapping[tuple[int, int, int], str] = field(default_factory=dict)
