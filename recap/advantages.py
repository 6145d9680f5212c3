"""Group-normalised advantages, one per objective."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

AdvantageScale = Literal["group", "none"]

EPSILON = 1e-4  # added to the standard deviation, as in GRPO implementations of the field


def group_advantages(rewards: Tensor, applies: Tensor, scale: AdvantageScale = "group") -> Tensor:
    """How much better each completion is than its group, objective by objective.

    A = (r - mean(r)) / (std(r) + 1e-4), over the completions of the group to which the objective applies; std is the
    unbiased one. Source: GRPO (arXiv 2402.03300), equation of outcome supervision; ``none`` leaves out the division
    (Dr. GRPO, arXiv 2503.20783).

    Args:
        rewards: [P, G, K] for P prompts, G completions a prompt, K objectives.
        applies: [P, G, K], false where the reward does not apply; such entries get advantage 0.

    Returns: [P, G, K]; the sum over a group is 0.
    """
    present = applies.to(rewards.dtype)
    rewards = torch.where(applies, rewards, torch.zeros_like(rewards))
    count = present.sum(dim=1, keepdim=True)
    mean = rewards.sum(dim=1, keepdim=True) / count.clamp(min=1)
    centred = (rewards - mean) * present
    if scale == "none":
        return centred
    std = (centred.square().sum(dim=1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return centred / (std + EPSILON)
