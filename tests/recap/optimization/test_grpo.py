"""The variants of the surrogate, by hand."""

import math
from typing import Any

import pytest
import torch

from recap.optimization.grpo import GRPO, sampler_difference

MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])


def test_clip_higher_by_hand() -> None:
    grpo = GRPO(clip=0.2, clip_high=0.5)
    ratio = torch.tensor([[0.5, 1.4, 2.0, 9.0], [0.5, 9.0, 9.0, 9.0]])
    loss = grpo.surrogate(ratio, MASK, torch.tensor([[1.0], [-1.0]]))[:, 0]
    # A = 1: min(ρ, clip ρ) = 0.5, 1.4, 1.5.   A = -1: min(-0.5, -0.8) = -0.8.
    assert loss.tolist() == pytest.approx([-(0.5 + 1.4 + 1.5) / 3, 0.8])
    assert (grpo.is_clipped(ratio) * MASK).tolist() == [[1, 0, 1, 0], [1, 0, 0, 0]]


def test_normalizations_by_hand() -> None:
    values = torch.tensor([[1.0, 2.0, 6.0, 100.0], [4.0, 100.0, 100.0, 100.0]])
    expected = {"sequence": ([3, 4], [1, 1]), "token": ([9, 4], [3, 1]), "constant": ([9, 4], [10, 10])}
    for normalization, (sums, units) in expected.items():
        grpo = GRPO(normalization=normalization)  # type: ignore[arg-type]
        assert grpo.over_tokens(values, MASK).tolist() == sums
        assert grpo.units(MASK, max_new_tokens=10).tolist() == units


def test_truncated_completions_leave_the_loss_but_stay_in_the_count_of_completions() -> None:
    truncated = torch.tensor([True, False])
    for normalization, units in (("sequence", [1, 1]), ("token", [0, 1]), ("constant", [10, 10])):
        grpo = GRPO(mask_truncated=True, normalization=normalization)  # type: ignore[arg-type]
        mask = grpo.loss_mask(MASK, truncated)
        assert mask.sum(1).tolist() == [0, 1]
        assert grpo.units(mask, max_new_tokens=10).tolist() == units
        assert grpo.surrogate(torch.ones(2, 4), mask, torch.ones(2, 1))[0] == 0
    assert GRPO().loss_mask(MASK, truncated) is MASK


def test_sequence_ratio_is_the_geometric_mean_and_has_the_gradient_of_the_detached_token_form() -> None:
    """GSPO-token: s = sg[s_i] π / sg[π] for each token, of the same value and gradient while a completion has one A."""
    generator = torch.Generator().manual_seed(0)
    old = -torch.rand(2, 4, generator=generator)
    log_probs = (old + 0.1 * torch.randn(2, 4, generator=generator)).requires_grad_()
    advantages = torch.tensor([[1.5], [-0.5]])
    grpo = GRPO(importance_ratio="sequence", clip=0.9, clip_high=9.0)
    ratio = grpo.ratio(log_probs, old, MASK)
    by_hand = math.exp(float((log_probs - old).detach()[0, :3].mean()))
    assert ratio[0].tolist() == pytest.approx([by_hand] * 4)
    detached = ratio.detach() * (log_probs - log_probs.detach()).exp()
    for normalization in ("sequence", "token", "constant"):
        variant = GRPO(normalization=normalization, clip=0.9, clip_high=9.0)  # type: ignore[arg-type]
        own = torch.autograd.grad(variant.surrogate(ratio, MASK, advantages).sum(), log_probs, retain_graph=True)[0]
        token = torch.autograd.grad(variant.surrogate(detached, MASK, advantages).sum(), log_probs)[0]
        detached = ratio.detach() * (log_probs - log_probs.detach()).exp()
        torch.testing.assert_close(own, token)


def expected_gradient(estimator: str, logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Mean over samples x ~ π, exactly: Σ_x π(x) ∇ kl(x), with π(x) as a constant."""
    logits = logits.clone().requires_grad_()
    log_probs = logits.log_softmax(-1)
    kl = GRPO(kl_estimator=estimator).kl(log_probs, reference)  # type: ignore[arg-type]
    (log_probs.detach().exp() * kl).sum().backward()
    assert logits.grad is not None
    return logits.grad


def true_gradient(logits: torch.Tensor, reference: torch.Tensor, *, reverse: bool) -> torch.Tensor:
    logits = logits.clone().requires_grad_()
    log_probs = logits.log_softmax(-1)
    difference = log_probs - reference
    (log_probs.exp() * difference if reverse else -reference.exp() * difference).sum().backward()
    assert logits.grad is not None
    return logits.grad


def test_what_the_gradient_of_each_kl_estimator_is() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(6, generator=generator, dtype=torch.float64)
    reference = torch.randn(6, generator=generator, dtype=torch.float64).log_softmax(-1)
    assert expected_gradient("k1", logits, reference).abs().max() < 1e-12
    torch.testing.assert_close(
        expected_gradient("k2", logits, reference), true_gradient(logits, reference, reverse=True)
    )
    torch.testing.assert_close(
        expected_gradient("k3", logits, reference), true_gradient(logits, reference, reverse=False)
    )


def test_kl_estimators_measure_the_divergence() -> None:
    """k1 and k3 without bias, k2 to second order; all are 0 for the same model."""
    generator = torch.Generator().manual_seed(4)
    log_probs = torch.randn(6, generator=generator, dtype=torch.float64).log_softmax(-1)
    reference = (log_probs + 0.05 * torch.randn(6, generator=generator, dtype=torch.float64)).log_softmax(-1)
    true = float((log_probs.exp() * (log_probs - reference)).sum())
    for estimator, tolerance in (("k1", 1e-12), ("k2", 0.05 * true), ("k3", 1e-12)):
        grpo = GRPO(kl_estimator=estimator)  # type: ignore[arg-type]
        assert float((log_probs.exp() * grpo.kl(log_probs, reference)).sum()) == pytest.approx(true, abs=tolerance)
        assert grpo.kl(log_probs, log_probs).abs().max() == 0
        if estimator != "k1":
            assert (grpo.kl(log_probs, reference) >= 0).all()


OLD = torch.tensor([[-1.0, -2.0, -0.5], [-3.0, -1.0, 0.0]])
SAMPLER = torch.tensor([[-1.0, -2.5, -0.9], [-1.0, -1.2, 0.0]])
TWO_MASKS = torch.tensor([[1, 1, 1], [1, 1, 0]])


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("token", [[1.0, 1.5, math.exp(0.4)], [math.exp(-2.0), math.exp(0.2), 1.0]]),
        ("sequence", [[1.5] * 3, [math.exp(-1.8)] * 3]),
        (None, [[1.0] * 3] * 2),
    ],
)
def test_correction_of_a_sampler_by_hand(level: Any, expected: list[list[float]]) -> None:
    """min(π_old / π_sampler, 1.5), of each token or of the whole completion; outside the mask nothing counts."""
    grpo = GRPO(sampler_correction=level, sampler_correction_cap=1.5)
    correction = grpo.correction(grpo.sampler_ratio(OLD, SAMPLER, TWO_MASKS))
    torch.testing.assert_close(correction, torch.tensor(expected))


def test_the_correction_multiplies_each_tokens_surrogate() -> None:
    grpo, ratio = GRPO(normalization="token"), torch.tensor([[1.0, 1.1, 0.9]])
    correction = torch.tensor([[0.5, 2.0, 1.0]])
    loss = grpo.surrogate(ratio, torch.tensor([[1, 1, 0]]), torch.tensor([[2.0]]), correction)
    assert loss.item() == pytest.approx(-(0.5 * 1.0 + 2.0 * 1.1) * 2.0)


def test_log_probs_that_are_unknown_or_impossible_give_no_nan() -> None:
    sampler = torch.tensor([[math.nan, -9999.0, -1.0], [-math.inf, -1.0, math.nan]])
    for level in ("token", "sequence", None):
        grpo = GRPO(sampler_correction=level)
        correction = grpo.correction(grpo.sampler_ratio(OLD, sampler, TWO_MASKS))
        assert torch.isfinite(correction).all()
        assert correction.max() <= 3
    assert sampler_difference(OLD, sampler, TWO_MASKS)[0, 0] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip": 0.0}, "grpo.clip"),
        ({"clip_high": 0.0}, "grpo.clip_high"),
        ({"kl_coefficient": -1.0}, "grpo.kl_coefficient"),
        ({"iterations": 0}, "grpo.iterations"),
        ({"scale": "global"}, "grpo.scale"),
        ({"normalization": "mean"}, "grpo.normalization"),
        ({"importance_ratio": "word"}, "grpo.importance_ratio"),
        ({"kl_estimator": "k4"}, "grpo.kl_estimator"),
        ({"sampler_correction": "word"}, "grpo.sampler_correction"),
        ({"sampler_correction_cap": 0.0}, "grpo.sampler_correction_cap"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GRPO(**settings)  # type: ignore[arg-type]
