"""The step loss against a calculation by hand, written as sums over completions and tokens."""

import math

import pytest
import torch

from recap.data.objectives import ConfidenceScaledPrediction
from recap.learning.advantages import step_advantages
from recap.learning.loss import LossParts, StepCounts, mean_losses, reinforcement_loss, supervised_loss
from recap.optimization.grpo import GRPO, WeightsActOn
from recap.rewards.table import RewardTable

WEIGHTS = torch.tensor([0.5, 1.5, 1.0])  # accuracy, format, next token
DOMAINS = torch.tensor([0, 1, 0])  # of the three prompts; domain 2 is supervised
UNITS = torch.tensor([[8.0, 0.0, 0.0], [4.0, 4.0, 0.0], [0.0, 0.0, 7.0]])
COUNTS = StepCounts(UNITS, UNITS)
DEFAULT = GRPO()


def step(seed: int = 0) -> dict[str, torch.Tensor]:
    """Three groups of four: two of a domain with accuracy alone, one of a domain with accuracy and format."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 6, (12,), generator=generator)
    mask = (torch.arange(5) < lengths[:, None]).long()
    applies = torch.zeros(3, 4, 3, dtype=torch.bool)
    applies[:, :, 0] = True
    applies[1, :, 1] = True
    return {
        "old_log_probs": -3 * torch.rand(12, 5, generator=generator) * mask,
        "mask": mask,
        "rewards": torch.rand(3, 4, 3, generator=generator),
        "applies": applies,
        "domain_index": DOMAINS,
    }


def loss_of(
    log_probs: torch.Tensor,
    data: dict[str, torch.Tensor],
    act_on: WeightsActOn,
    weights: torch.Tensor = WEIGHTS,
    reference: torch.Tensor | None = None,
    beta: float = 0.0,
    grpo: GRPO = DEFAULT,
    counts: StepCounts = COUNTS,
) -> LossParts:
    table = RewardTable(data["rewards"], data["applies"], data["domain_index"])
    (advantages,) = step_advantages([table], weights, num_domains=3, scale=grpo.scale, act_on=act_on)
    return reinforcement_loss(
        grpo,
        ratio=grpo.ratio(log_probs, data["old_log_probs"], data["mask"]),
        kl=beta * (torch.zeros_like(log_probs) if reference is None else grpo.kl(log_probs, reference)),
        loss_mask=data["mask"],
        advantages=advantages,
        applies=data["applies"],
        domain_index=data["domain_index"],
        weights=weights,
        counts=counts,
    )


def by_hand(log_probs: torch.Tensor, data: dict[str, torch.Tensor], beta: float, reference: torch.Tensor) -> float:
    """(1/K) Σ_k λ_k (1/N) Σ_n mean over completions of the GRPO loss of one completion, K = N = 3."""
    total = 0.0
    for k in range(2):
        for n in range(2):
            parts = []
            for p in range(3):
                if DOMAINS[p] != n or not data["applies"][p, 0, k]:
                    continue
                rewards = [float(r) for r in data["rewards"][p, :, k]]
                mean = sum(rewards) / 4
                std = math.sqrt(sum((r - mean) ** 2 for r in rewards) / 3)
                for g in range(4):
                    advantage = (rewards[g] - mean) / (std + 1e-4)
                    row, length = 4 * p + g, int(data["mask"][4 * p + g].sum())
                    terms = []
                    for t in range(length):
                        ratio = math.exp(float(log_probs[row, t] - data["old_log_probs"][row, t]))
                        gain = min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage)
                        difference = float(reference[row, t] - log_probs[row, t])
                        terms.append(-gain + beta * (math.exp(difference) - difference - 1))
                    parts.append(sum(terms) / length)
            if parts:
                total += float(WEIGHTS[k]) * sum(parts) / len(parts)
    return total / 9


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_loss_by_hand(beta: float) -> None:
    data = step()
    generator = torch.Generator().manual_seed(9)
    log_probs = data["old_log_probs"] + 0.3 * torch.randn(12, 5, generator=generator) * data["mask"]
    reference = data["old_log_probs"] + 0.1 * torch.randn(12, 5, generator=generator) * data["mask"]
    parts = loss_of(log_probs, data, "loss", reference=reference, beta=beta)
    assert float(parts.loss) == pytest.approx(by_hand(log_probs, data, beta, reference), abs=1e-6)
    assert float((parts.objectives * WEIGHTS).mean()) == pytest.approx(float(parts.loss), abs=1e-7)
    torch.testing.assert_close(parts.objectives.detach(), mean_losses(parts.sums, COUNTS))


def test_supervised_loss_by_hand() -> None:
    log_probs = -torch.rand(2, 4, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    parts = supervised(log_probs, mask, torch.ones(2, 4, 3))
    mean = float(-(log_probs * mask).sum() / 7)
    assert float(parts.loss) == pytest.approx(mean * 1.0 / 9, abs=1e-6)
    assert float(mean_losses(parts.sums, COUNTS)[2]) == pytest.approx(mean / 3, abs=1e-6)


def supervised(log_probs: torch.Tensor, mask: torch.Tensor, gradient_scale: torch.Tensor) -> LossParts:
    return supervised_loss(
        log_probs=log_probs,
        mask=mask,
        applies=torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]),
        gradient_scale=gradient_scale,
        domain_index=torch.tensor([2, 2]),
        weights=WEIGHTS,
        counts=COUNTS,
    )


def test_confidence_scales_the_gradient_and_not_what_is_reported() -> None:
    log_probs = (-3 * torch.rand(2, 4, generator=torch.Generator().manual_seed(1))).requires_grad_()
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    plain = supervised(log_probs, mask, torch.ones(2, 4, 3))
    scale = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(2))
    scaled = supervised(log_probs, mask, scale)
    torch.testing.assert_close(plain.sums, scaled.sums)
    (before,) = torch.autograd.grad(plain.loss, log_probs)
    (after,) = torch.autograd.grad(scaled.loss, log_probs)
    torch.testing.assert_close(after, before * scale[..., 2])


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_confidence_by_hand(temperature: float) -> None:
    probabilities = [0.9, 0.5, 0.01]
    log_probs = torch.tensor(probabilities).log()
    token = ConfidenceScaledPrediction(temperature=temperature).gradient_scale(log_probs)
    assert token.tolist() == pytest.approx([p ** (1 / temperature) for p in probabilities], rel=1e-5)
    sequence = ConfidenceScaledPrediction(level="sequence", temperature=temperature).gradient_scale(log_probs)
    cross_entropy = -sum(map(math.log, probabilities)) / 3
    assert sequence.tolist() == pytest.approx([math.exp(-cross_entropy / temperature)] * 3, rel=1e-5)


def gradient(
    act_on: WeightsActOn, data: dict[str, torch.Tensor], weights: torch.Tensor = WEIGHTS, grpo: GRPO = DEFAULT
) -> torch.Tensor:
    log_probs = data["old_log_probs"].clone().requires_grad_()
    loss_of(log_probs, data, act_on, weights=weights, grpo=grpo).loss.backward()
    assert log_probs.grad is not None
    return log_probs.grad


def test_on_policy_weights_on_loss_and_on_advantage_are_the_same() -> None:
    data = step()
    torch.testing.assert_close(gradient("loss", data), gradient("advantage", data), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("scale", ["group", "batch"])
def test_under_reward_a_common_factor_changes_nothing_but_under_loss_it_does(scale: str) -> None:
    """Under standard-deviation scaling only the ratios of weights within a domain act (so in RECAP's public code)."""
    data, grpo = step(), GRPO(scale=scale)  # type: ignore[arg-type]
    others: list[WeightsActOn] = ["reward", "normalized_advantage"]
    for act_on in others:
        torch.testing.assert_close(
            gradient(act_on, data, grpo=grpo), gradient(act_on, data, 3 * WEIGHTS, grpo), atol=1e-5, rtol=2e-3
        )
    torch.testing.assert_close(3 * gradient("loss", data, grpo=grpo), gradient("loss", data, 3 * WEIGHTS, grpo))
    other_ratio = torch.tensor([1.5, 0.5, 1.0])
    for act_on in others:
        assert (gradient(act_on, data, grpo=grpo) - gradient(act_on, data, other_ratio, grpo)).abs().max() > 1e-3


def test_under_reward_without_scaling_a_common_factor_does_act() -> None:
    data, grpo = step(), GRPO(scale="none")
    torch.testing.assert_close(3 * gradient("reward", data, grpo=grpo), gradient("reward", data, 3 * WEIGHTS, grpo))


def test_under_token_normalization_every_token_of_an_objective_weighs_the_same() -> None:
    """The gradient of log-prob t at ρ = 1 is -λ A / (K N tokens of (n, k)), whatever the completion's length."""
    data, grpo = step(), GRPO(normalization="token")
    tokens = data["mask"].view(3, 4, 5).sum((1, 2)).float()
    units = torch.tensor([[tokens[0] + tokens[2], 0, 0], [tokens[1], tokens[1], 0], [0, 0, 7.0]])
    log_probs = data["old_log_probs"].clone().requires_grad_()
    loss_of(log_probs, data, "loss", grpo=grpo, counts=StepCounts(units, UNITS)).loss.backward()
    first = data["rewards"][0, :, 0]
    advantage = (first - first.mean()) / (first.std() + 1e-4)
    expected = -WEIGHTS[0] * advantage[:, None] * data["mask"][:4] / (9 * units[0, 0])
    assert log_probs.grad is not None
    torch.testing.assert_close(log_probs.grad[:4], expected, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("act_on", ["loss", "reward", "advantage"])
def test_micro_batches_add_up_to_the_whole(act_on: WeightsActOn) -> None:
    data = step()
    whole = gradient(act_on, data)
    parts = []
    for p in range(3):
        rows = slice(4 * p, 4 * p + 4)
        part = {
            "old_log_probs": data["old_log_probs"][rows],
            "mask": data["mask"][rows],
            "rewards": data["rewards"][p : p + 1],
            "applies": data["applies"][p : p + 1],
            "domain_index": DOMAINS[p : p + 1],
        }
        parts.append(gradient(act_on, part))
    torch.testing.assert_close(torch.cat(parts), whole)
