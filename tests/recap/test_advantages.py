import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recap.advantages import group_advantages


def test_by_hand() -> None:
    rewards = torch.tensor([[[1.0], [0.0], [1.0], [0.0]]])
    advantages = group_advantages(rewards, torch.ones_like(rewards, dtype=torch.bool))
    # mean 1/2, unbiased std sqrt(4 * 0.25 / 3) = 0.57735
    expected = 0.5 / (0.57735 + 1e-4)
    torch.testing.assert_close(advantages.flatten(), expected * torch.tensor([1.0, -1.0, 1.0, -1.0]), atol=1e-5, rtol=0)


def test_without_scale_only_the_mean_goes() -> None:
    rewards = torch.tensor([[[0.9], [0.1]]])
    advantages = group_advantages(rewards, torch.ones_like(rewards, dtype=torch.bool), "none")
    torch.testing.assert_close(advantages.flatten(), torch.tensor([0.4, -0.4]))


def test_equal_rewards_give_no_advantage() -> None:
    rewards = torch.full((2, 4, 3), 0.7)
    assert group_advantages(rewards, torch.ones_like(rewards, dtype=torch.bool)).abs().max() < 1e-3


@given(
    st.lists(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), min_size=1, max_size=5),
    st.integers(0, 2**20 - 1),
)
def test_groups_sum_to_zero_and_what_does_not_apply_gets_none(values: list[list[float]], pattern: int) -> None:
    rewards = torch.tensor(values)[..., None]
    bits = [(pattern >> index) & 1 for index in range(rewards.numel())]
    applies = torch.tensor(bits, dtype=torch.bool).reshape(rewards.shape)
    advantages = group_advantages(rewards, applies)
    assert torch.isfinite(advantages).all()
    assert advantages[~applies].abs().sum() == 0
    assert advantages.sum(1).abs().max() < 1e-3


def test_a_reward_that_does_not_apply_is_not_looked_at() -> None:
    rewards = torch.tensor([[[1.0], [0.0], [float("nan")]]])
    applies = torch.tensor([[[True], [True], [False]]])
    advantages = group_advantages(rewards, applies).flatten()
    assert advantages[0] == pytest.approx(-advantages[1].item())
    assert advantages[2] == 0
