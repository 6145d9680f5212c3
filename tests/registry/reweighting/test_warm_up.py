"""What a policy says of its warm-up is what it does."""

from __future__ import annotations

import random

import pytest

from registry import reweighting_policies
from registry.reweighting.base import ReweightingPolicy


@pytest.mark.parametrize(
    "policy",
    [
        reweighting_policies.build("recap", {"a": "reward", "b": "loss"}),
        reweighting_policies.build("recap", ["a", "b"], window=3, averages="exponential", smoothing=0.5, floor=0.1),
        reweighting_policies.build("recap_released", {"a": "reward", "b": "reward"}),
        reweighting_policies.build("dwa", ["a", "b"]),
    ],
    ids=["recap", "recap with all", "recap_released", "dwa"],
)
def test_weights_move_with_the_last_update_of_the_warm_up_and_not_before(policy: ReweightingPolicy) -> None:
    draw, start, moved = random.Random(0), policy.weights, []
    for _ in range(policy.warm_up):
        policy.update({"a": draw.uniform(0.1, 1), "b": draw.uniform(0.1, 1)})
        moved.append(policy.weights != start)
    assert moved == [False] * (policy.warm_up - 1) + [True]
