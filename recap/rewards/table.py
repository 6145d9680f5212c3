"""`RewardTable`: the rewards of a rollout, as tensors."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class RewardTable:
    """Rewards of the P groups of a rollout.

    Attributes:
        rewards: [P, G, K].
        applies: [P, G, K], false where objective k says nothing about the completion.
        domain_index: [P].
        left_out: completions that a verifier failed on, and to which therefore no objective applies.
    """

    rewards: Tensor
    applies: Tensor
    domain_index: Tensor
    left_out: int = 0
