"""The step loss against a calculation by hand, written as sums over completions and tokens."""

import math

import pytest
import torch

from recap.domains import Domain
from recap.objectives import (
    GRPO,
    NextTokenPrediction,
    StepCounts,
    WeightsActOn,
    collect_objectives,
    mean_losses,
    reinforcement_loss,
    supervised_loss,
)
from registry.replay.arithmetic import Arithmetic

WEIGHTS = torch.tensor([0.5, 1.5, 1.0])  # accuracy, format, next token
DOMAINS = torch.tensor([0, 1, 0])  # of the three prompts; domain 2 is supervised
UNITS = torch.tensor([[8.0, 0.0, 0.0], [4.0, 4.0, 0.0], [0.0, 0.0, 7.0]])


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


def loss_of(log_probs: torch.Tensor, data: dict[str, torch.Tensor], act_on: WeightsActOn, **settings: object):  # type: ignore[no-untyped-def]
    arguments = {"reference_log_probs": None, "weights": WEIGHTS, "kl_coefficient": 0.0, **data, **settings}
    return reinforcement_loss(
        GRPO(),
        log_probs=log_probs,
        counts=StepCounts(UNITS),
        act_on=act_on,
        **arguments,  # type: ignore[arg-type]
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
    loss, _, _ = loss_of(log_probs, data, "loss", reference_log_probs=reference, kl_coefficient=beta)
    assert float(loss) == pytest.approx(by_hand(log_probs, data, beta, reference), abs=1e-6)


def test_supervised_loss_by_hand() -> None:
    log_probs = -torch.rand(2, 4, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    loss, sums = supervised_loss(
        log_probs=log_probs,
        mask=mask,
        applies=torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]),
        domain_index=torch.tensor([2, 2]),
        weights=WEIGHTS,
        counts=StepCounts(UNITS),
    )
    mean = float(-(log_probs * mask).sum() / 7)
    assert float(loss) == pytest.approx(mean * 1.0 / 9, abs=1e-6)
    assert float(mean_losses(sums, StepCounts(UNITS))[2]) == pytest.approx(mean / 3, abs=1e-6)


def gradient(act_on: WeightsActOn, data: dict[str, torch.Tensor], weights: torch.Tensor = WEIGHTS) -> torch.Tensor:
    log_probs = data["old_log_probs"].clone().requires_grad_()
    loss, _, _ = loss_of(log_probs, data, act_on, weights=weights)
    loss.backward()
    assert log_probs.grad is not None
    return log_probs.grad


def test_on_policy_weights_on_loss_and_on_advantage_are_the_same() -> None:
    data = step()
    torch.testing.assert_close(gradient("loss", data), gradient("advantage", data), atol=1e-6, rtol=1e-4)


def test_under_reward_a_common_factor_changes_nothing_but_under_loss_it_does() -> None:
    """METHOD: under standard-deviation scaling only the ratios of weights within a domain act."""
    data = step()
    torch.testing.assert_close(gradient("reward", data), gradient("reward", data, 3 * WEIGHTS), atol=1e-5, rtol=2e-3)
    torch.testing.assert_close(3 * gradient("loss", data), gradient("loss", data, 3 * WEIGHTS))
    other_ratio = torch.tensor([1.5, 0.5, 1.0])
    assert (gradient("reward", data) - gradient("reward", data, other_ratio)).abs().max() > 1e-3


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


def test_kl_is_zero_for_the_same_model_and_positive_otherwise() -> None:
    log_probs = -torch.rand(3, 4)
    mask = torch.ones(3, 4)
    assert GRPO.kl(log_probs, log_probs, mask).abs().max() == 0
    assert (GRPO.kl(log_probs, log_probs - 0.5, mask) > 0).all()


def domain(name: str, *objectives: str) -> Domain:
    parts = {o: NextTokenPrediction() if o == "next_token" else (lambda c, e: 1.0) for o in objectives}
    return Domain(name=name, source=Arithmetic(), objectives=parts)  # type: ignore[arg-type]


def test_scopes() -> None:
    domains = [domain("a", "accuracy", "format"), domain("b", "accuracy"), domain("c", "next_token")]
    shared = collect_objectives(domains, "shared")
    assert [(o.name, o.supervised, o.domains) for o in shared] == [
        ("accuracy", False, ("a", "b")),
        ("format", False, ("a",)),
        ("next_token", True, ("c",)),
    ]
    assert [o.name for o in collect_objectives(domains, "per_domain")] == [
        "a/accuracy",
        "a/format",
        "b/accuracy",
        "c/next_token",
    ]


def test_one_name_for_two_kinds_is_an_error() -> None:
    mixed = Domain(name="b", source=Arithmetic(), objectives={"next_token": lambda c, e: 1.0})
    with pytest.raises(ValueError, match="'next_token' is a verifier in one domain"):
        collect_objectives([domain("a", "next_token"), mixed], "shared")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip": 0.0}, "grpo.clip"),
        ({"kl_coefficient": -1.0}, "grpo.kl_coefficient"),
        ({"scale": "batch"}, "grpo.scale"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GRPO(**settings)  # type: ignore[arg-type]
