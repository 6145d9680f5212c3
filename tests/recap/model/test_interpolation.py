"""Weights between two models, against the formula written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recap.model.interpolation import mix, mixed, weights_of


class Tied(nn.Module):
    """An embedding and a head that are one tensor, a running mean and a counter."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(2, 3), nn.Linear(3, 2, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("mean", torch.full((3,), value))
        self.register_buffer("count", torch.tensor(int(value)))
        with torch.no_grad():
            self.embedding.weight.copy_(torch.arange(6.0).reshape(2, 3) * value)


def test_a_mixture_by_hand() -> None:
    base, model = weights_of(Tied(1.0)), Tied(3.0)
    mix(model, base, 0.25)
    assert torch.equal(model.embedding.weight, torch.arange(6.0).reshape(2, 3) * 1.5)  # 0.75 · 1 + 0.25 · 3
    assert model.head.weight is model.embedding.weight  # mixed once
    assert model.mean.tolist() == [1.5] * 3
    assert int(model.count) == 1
    assert "head.weight" not in base


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_ends_are_exact_and_between_them_is_rounded_once(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    base, trained = (torch.randn(500, generator=generator).to(dtype) for _ in range(2))
    assert torch.equal(mixed(base, trained, 0.0), base)
    assert torch.equal(mixed(base, trained, 1.0), trained)
    assert torch.equal(mixed(base, base, 0.3), base)  # what was frozen stays as it is
    exact = 0.7 * base.double() + 0.3 * trained.double()
    half_a_step = torch.finfo(dtype).eps / 2
    assert ((mixed(base, trained, 0.3).double() - exact).abs() <= half_a_step * exact.abs() + 1e-6).all()


def test_what_cannot_be_mixed_is_refused() -> None:
    with pytest.raises(ValueError, match="lie in"):
        mix(Tied(1.0), weights_of(Tied(1.0)), 1.5)
    with pytest.raises(ValueError, match="same weights: bias, count"):
        mix(nn.Linear(2, 2), weights_of(Tied(1.0)), 0.5)
