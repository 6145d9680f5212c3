"""Three forwards over the completions of groups: packed behind their prompt, behind a prompt of the rollout, and plain.

Each gives what the tokens of the completions are predicted from, in the order of `mask.bool()`: hidden states, [tokens, H].
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from transformers import PreTrainedModel

from recap.model.packing import pack
from recap.model.prefix import Prefix
from registry.backends.base import EncodedPrompts


def packed_states(
    model: PreTrainedModel, prompts: EncodedPrompts, ids: Tensor, mask: Tensor, *, logits: bool
) -> Tensor:
    """One row per group; with `logits` the logits themselves, [tokens, V]."""
    packed = pack(prompts, ids, mask)
    output = model(**packed.inputs).logits if logits else model.base_model(**packed.inputs).last_hidden_state
    states: Tensor = rearrange(output, "p s h -> (p s) h")
    return states.index_select(0, packed.predictors[mask.bool()])


def continued_states(
    model: PreTrainedModel, prefix: Prefix, prompts: EncodedPrompts, ids: Tensor, mask: Tensor
) -> Tensor:
    """One row per group, behind prompts whose keys and values are there."""
    assert prefix.last is not None
    packed = pack(prompts, ids, mask, prefix.keys_values)
    output = model.base_model(**packed.inputs).last_hidden_state
    states = torch.cat([prefix.last[:, None], output], dim=1)
    return rearrange(states, "p s h -> (p s) h").index_select(0, packed.predictors[mask.bool()])


def plain_states(model: PreTrainedModel, prompts: EncodedPrompts, ids: Tensor, mask: Tensor, *, logits: bool) -> Tensor:
    """Without sharing: G forwards of prompt and completion, one row each; with `logits` the logits themselves, [tokens, V]."""
    group_size, length = len(ids) // len(prompts), ids.shape[1]
    leading = prompts.position_ids.shape[:-2]
    following = prompts.next_position[:, None] + torch.arange(length - 1, device=ids.device)
    positions = torch.cat([prompts.position_ids, following.expand(*leading, *following.shape)], dim=-1)
    outputs = []
    for g in range(group_size):
        inputs = {
            **prompts.inputs,
            "input_ids": torch.cat([prompts.inputs["input_ids"], ids[g::group_size, :-1]], dim=1),
            "attention_mask": torch.cat(
                [prompts.attention_mask, mask[g::group_size, :-1].to(prompts.attention_mask.dtype)], dim=1
            ),
            "position_ids": positions,
            "use_cache": False,
        }
        if logits:
            outputs.append(model(**inputs, logits_to_keep=length).logits)
        else:
            outputs.append(model.base_model(**inputs).last_hidden_state[:, -length:])
    return rearrange(torch.stack(outputs, dim=1), "p g t h -> (p g) t h")[mask.bool()]
