import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recap.learning.advantages import Advantages, group_advantages, step_advantages
from recap.optimization.grpo import AdvantageScale, WeightsActOn
from recap.rewards.table import RewardTable


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


@given(st.floats(0, 1, width=32))
def test_equal_rewards_give_exactly_none(value: float) -> None:
    """Otherwise the rounding of the mean, over 1e-4, is an advantage of up to 1e-3 on nothing."""
    rewards = torch.full((1, 7, 2), value)
    assert group_advantages(rewards, torch.ones_like(rewards, dtype=torch.bool)).abs().max() == 0


def tables(seed: int = 0) -> list[RewardTable]:
    """Two micro-batches; domain 0 has both objectives, domain 1 the first only, and one completion has no reward."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for domains in ([0, 1, 0], [1, 0]):
        rewards = torch.rand(len(domains), 4, 2, generator=generator)
        applies = torch.ones_like(rewards, dtype=torch.bool)
        applies[torch.tensor(domains) == 1, :, 1] = False
        found.append(RewardTable(rewards, applies, torch.tensor(domains)))
    found[0].applies[0, 2, 0] = False
    return found


def values_of(found: list[RewardTable], n: int, k: int) -> torch.Tensor:
    return torch.cat([t.rewards[t.domain_index == n][..., k][t.applies[t.domain_index == n][..., k]] for t in found])


def test_batch_scale_divides_by_the_deviation_of_the_domain() -> None:
    found = tables()
    advantages = step_advantages(found, torch.ones(2), num_domains=2, scale="batch", act_on="loss")
    for table, got in zip(found, advantages, strict=True):
        assert got.combined is None
        for p, n in enumerate(table.domain_index.tolist()):
            for k in range(2):
                applied = table.applies[p, :, k]
                if not applied.any():
                    assert got.per_objective[p, :, k].abs().max() == 0
                    continue
                rewards = table.rewards[p, :, k][applied]
                expected = (rewards - rewards.mean()) / (values_of(found, n, k).std() + 1e-4)
                torch.testing.assert_close(got.per_objective[p, applied, k], expected)


@pytest.mark.parametrize("act_on", ["loss", "advantage", "normalized_advantage", "reward"])
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_processes_and_micro_batches_do_not_matter(act_on: WeightsActOn, scale: AdvantageScale) -> None:
    """Threads stand for three processes, one of them without a rollout; a call of `reduce` waits for all of them."""
    found, weights = tables(), torch.tensor([0.4, 1.6])
    settings = {"num_domains": 2, "scale": scale, "act_on": act_on}
    together = step_advantages(found, weights, **settings)  # type: ignore[arg-type]
    barrier, sent = threading.Barrier(3, timeout=20), [torch.empty(0)] * 3

    def process(rank: int, share: list[RewardTable]) -> list[Advantages]:
        def reduce(sums: torch.Tensor) -> torch.Tensor:
            sent[rank] = sums
            barrier.wait()
            total = torch.stack(sent).sum(0)
            barrier.wait()
            return total

        return step_advantages(share, weights, reduce=reduce, **settings)  # type: ignore[arg-type]

    with ThreadPoolExecutor(3) as pool:
        apart = [part for parts in pool.map(process, range(3), [[found[0]], [], [found[1]]]) for part in parts]
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one.per_objective, other.per_objective)
        if one.combined is not None and other.combined is not None:
            torch.testing.assert_close(one.combined, other.combined)


def test_nonzero_looks_at_both_kinds() -> None:
    zero, one = torch.zeros(1, 2, 3), torch.ones(1, 2)
    assert not Advantages(zero, None).nonzero.any()
    assert Advantages(zero, one).nonzero.all()
    assert Advantages(zero + 1, 0 * one).nonzero.all()
