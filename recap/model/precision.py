"""In which precision weights are held that no optimizer moves, and what autocast may keep of the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def probing() -> Iterator[None]:
    """Forwards without graph within the autocast of a forward with one, of which autocast must keep nothing; also a decorator.

    Autocast casts each trained weight once. Older torch (2.9 and 2.10; not 2.13) hands a cast that was made without graph to
    the forward with one, and the weight has no gradient (pytorch #112583, mended by its PR 165068).
    """
    try:
        with torch.no_grad():
            yield
    finally:
        torch.clear_autocast_cache()


def hold_frozen(model: nn.Module, dtype: torch.dtype) -> None:
    """Holds the frozen parameters in `dtype`, in place; those that are trained, and buffers, stay as they are.

    Under autocast a linear layer casts fp32 weights at every call, in decoding at every token; held in the dtype of the
    arithmetic they need no cast and half the memory. Nothing is lost where they were published in this dtype; others are
    rounded, which autocast does to all but embeddings and norms. With the embeddings the states between layers are in this
    dtype too, as in a model that is loaded in it. Buffers stay: rotary frequencies in bf16 would misplace the tokens of long
    prompts.
    """
    for parameter in model.parameters():
        if not parameter.requires_grad and parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
