"""In which precision weights are held that no optimizer moves."""

from __future__ import annotations

import torch
from torch import nn


def hold_frozen(model: nn.Module, dtype: torch.dtype) -> None:
    """Holds the frozen parameters in `dtype`, in place; those that are trained, and buffers, stay as they are.

    Under autocast a linear layer casts fp32 weights at every call, in decoding at every token; held in the dtype of the
    arithmetic they need no cast and half the memory. Rounding them loses nothing that autocast would have kept, but for
    embeddings and norms, and nothing at all where they were published in this dtype. Buffers stay: rotary frequencies
    in bf16 would misplace the tokens of long prompts.
    """
    for parameter in model.parameters():
        if not parameter.requires_grad and parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
