"""A pass of reinforcement by hand: on whose prompts the KL term acts, and what it leaves of the others."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recap.learning.advantages import Advantages
from recap.learning.loss import StepCounts
from recap.learning.microbatch import ReinforcementBatch
from recap.learning.passes import ReinforcementPass, StepWeights, kl_coefficients
from recap.optimization.grpo import GRPO

BETA = 0.1
ADVANTAGES = torch.tensor(
    [[1.0, -1.0], [0.5, -0.5]]
)  # of two prompts, each of a domain of its own, two completions each
REFERENCE = torch.tensor([[-1.0], [-2.0], [-1.5], [-0.5]])  # a token each


def run(acts: list[bool]) -> tuple[float, list[float], float]:
    """Loss, gradient of each completion's log-prob, and the KL that is reported."""
    log_probs = torch.tensor([[-0.5], [-1.0], [-1.0], [-2.0]], requires_grad=True)
    ones = torch.ones(4, 1, dtype=torch.long)
    encoded: Any = None
    item = ReinforcementBatch(
        encoded,
        ones,
        ones,
        ones,
        Advantages(ADVANTAGES[..., None], None),
        torch.ones(2, 2, 1, dtype=torch.bool),
        torch.tensor([0, 1]),
    )
    counts = StepCounts(torch.full((2, 1), 2.0), torch.full((2, 1), 2.0))
    beta = kl_coefficients(BETA, acts, torch.device("cpu"))

    def scorer(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(log_probs=log_probs, entropy=torch.zeros(4, 1))

    step = StepWeights(torch.ones(1), counts)
    result = ReinforcementPass(item, step, scorer, GRPO(), 1.0, beta, lambda _: REFERENCE)()
    result.parts.loss.backward()
    assert log_probs.grad is not None
    return float(result.parts.loss.detach()), log_probs.grad.flatten().tolist(), float(result.statistics[2])


@pytest.mark.parametrize("acts", [[True, True], [True, False], [False, True]])
def test_the_kl_term_acts_on_its_domains_alone(acts: list[bool]) -> None:
    """L = (1/2) Σ_n (1/2) Σ_completions (-A + β k3); its derivative by log π is (-A + β (1 - exp(-d))) / 4."""
    loss, gradient, kl = run(acts)
    differences, advantages = [0.5, 1.0, 0.5, -1.5], ADVANTAGES.flatten().tolist()
    k3 = [math.exp(-d) - 1 + d for d in differences]
    under = [BETA * acts[0]] * 2 + [BETA * acts[1]] * 2
    assert loss == pytest.approx(sum(b * k - a for b, k, a in zip(under, k3, advantages, strict=True)) / 4, abs=1e-6)
    expected = [(b * (1 - math.exp(-d)) - a) / 4 for b, d, a in zip(under, differences, advantages, strict=True)]
    assert gradient == pytest.approx(expected, abs=1e-6)
    assert kl == pytest.approx(sum(k3), abs=1e-5)  # reported of all, penalised or not


def test_on_all_domains_beta_is_a_number_as_without_the_choice() -> None:
    assert kl_coefficients(BETA, [True, True], torch.device("cpu")) is BETA


def test_domains_without_a_kl_term_get_the_gradient_of_no_kl_term_to_the_last_digit() -> None:
    assert run([True, False])[1][2:] == run([False, False])[1][2:]
    assert run([False, True])[1][:2] == run([False, False])[1][:2]
