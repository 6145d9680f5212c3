"""How the attention of a model of transformers learns that texts share their prompt.

A forward is told by the keyword `shared_prompts`, which transformers hands on to the attention of every layer.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

KeysValues = tuple[Tensor, Tensor]


class SharedPrompts(Protocol):
    """Where the tokens of a forward stand."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, dropout: float) -> Tensor:
        """Of one layer: [B, heads, S, d] and twice [B, groups of heads, S, d] -> [B, S, heads, d]."""
        ...


_one_text_per_row = ALL_ATTENTION_FUNCTIONS["sdpa"]


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    shared_prompts: SharedPrompts | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls for 'sdpa'; its own, unless prompts are shared and the layer is of the language model.

    Raises:
        NotImplementedError: the layer wants more of its attention than a softmax over all that came before.
    """
    if shared_prompts is None or not getattr(module, "is_causal", True):
        whole: tuple[Tensor, None] = _one_text_per_row(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
        return whole
    for name in ("softcap", "s_aux", "sliding_window", "position_bias"):
        if kwargs.get(name) is not None:
            raise NotImplementedError(f"attention with {name} cannot share a prompt")
    device = query.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else value.dtype
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    states = (query.to(dtype), key.to(dtype), value.to(dtype))
    return shared_prompts.attend(int(module.layer_idx), *states, scale, dropout), None  # type: ignore[arg-type]


ALL_ATTENTION_FUNCTIONS.register("sdpa", attention)
