"""The patch embedding of a vision tower, computed as the matrix product that it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PatchConv3d(nn.Conv3d):
    """A convolution over inputs no larger than its kernel: one product per input, without the convolution's set-up.

    Qwen's vision towers cut pictures into patches first and then convolve each of them with a kernel of its size. PyTorch's
    3-D convolution takes several times as long for that as a linear layer, in bfloat16 on some GPUs by far more
    (pytorch/pytorch#174051, huggingface/transformers#45750).
    """

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, *kernel] -> [N, D, 1, 1, 1]; anything larger is convolved."""
        if tuple(input.shape[2:]) != self.kernel_size:
            return super().forward(input)
        embedded = nn.functional.linear(input.flatten(1), self.weight.flatten(1), self.bias)
        return embedded[..., None, None, None]


def multiply_patches(model: nn.Module) -> None:
    """Makes the stock 3-D convolutions of a model products where they can be; names and weights stay."""
    for module in model.modules():
        plain = type(module) is nn.Conv3d and module.groups == 1 and module.dilation == (1, 1, 1)
        if plain and not torch.tensor(module.padding).any():
            module.__class__ = PatchConv3d
