from __future__ import annotations

import torch
from torch import nn

from registry.backends.patches import PatchConv3d, multiply_patches
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL


def outcome(layer: nn.Module, inputs: torch.Tensor) -> list[torch.Tensor]:
    inputs = inputs.clone().requires_grad_()
    found = layer(inputs)
    found.square().sum().backward()
    return [found, inputs.grad, layer.weight.grad, layer.bias.grad]


def test_products_equal_the_convolution() -> None:
    for size in ((2, 4, 4), (4, 8, 12)):  # one patch each, and pictures that are still to be cut
        torch.manual_seed(0)
        layer = nn.Conv3d(3, 5, kernel_size=(2, 4, 4), stride=(2, 4, 4))
        inputs = torch.randn(6, 3, *size)
        expected = outcome(layer, inputs)
        layer.zero_grad(set_to_none=True)
        multiply_patches(layer)
        assert type(layer) is PatchConv3d
        for ours, theirs in zip(outcome(layer, inputs), expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


def test_only_what_can_be_a_product_becomes_one() -> None:
    others = nn.ModuleList([nn.Conv3d(2, 2, 3, padding=1), nn.Conv3d(2, 2, 3, groups=2), nn.Conv2d(2, 2, 3)])
    before = [type(layer) for layer in others]
    multiply_patches(others)
    assert [type(layer) for layer in others] == before


def test_the_model_keeps_its_names() -> None:
    loaded = TinyQwen2_5_VL(weights="random").load()
    assert isinstance(loaded.model.base_model.visual.patch_embed.proj, PatchConv3d)
    assert "model.visual.patch_embed.proj.weight" in loaded.model.state_dict()
