"""A prompt and its G completions in one row, so that one forward computes each token once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from recap.model.packed_attention import Layout, has_kernel, lay_out, packed_attention, real_first, repeated_attention
from recap.model.shared_attention import KeysValues
from registry.backends.base import EncodedPrompts


class PackedGroups(NamedTuple):
    """P groups in P rows: the prompt's tokens and their padding, then those of its completions one after the other.

    A group of two, the prompt `a b c`, the completions `d e` and `f g h`; the last token of a completion predicts nothing
    and is left out:

    ```
    input_ids   a b c d f g
    position    0 1 2 3 3 4
    attends to  what comes before it in its completion, itself, and the prompt
    predictors  2 3, 2 4 5        the columns whose next token is d e, f g h
    ```

    Attributes:
        inputs: keyword arguments of the model's forward.
        predictors: [P * G, T], indices into the P * S tokens of the rows; meaningless where the completion is padding.
    """

    inputs: dict[str, Any]
    predictors: Tensor


@dataclass(frozen=True)
class PackedPrompts:
    """The `SharedPrompts` of packed rows.

    Attributes:
        prefix: of each layer, keys and values of prompts that are not in the rows; None: they are.
    """

    layout: Layout
    prefix: list[KeysValues] | None = None

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, dropout: float) -> Tensor:
        """See `SharedPrompts`."""
        prompt: KeysValues | None = None
        if self.prefix is not None:
            keys, values = self.prefix[layer]
            prompt = keys.to(key.dtype), values.to(value.dtype)
        kind = (query.device.type, query.dtype, query.shape[3], query.shape[1] // key.shape[1])
        if dropout or not has_kernel(*kind):
            return repeated_attention(query, key, value, prompt, self.layout, scale, dropout)
        return packed_attention(query, key, value, prompt, self.layout, scale)


def pack(
    prompts: EncodedPrompts,
    completion_ids: Tensor,
    completion_mask: Tensor,
    prefix: list[KeysValues] | None = None,
) -> PackedGroups:
    """Packs G completions of each of P prompts.

    Args:
        prompts: P encoded prompts.
        completion_ids, completion_mask: [P * G, T], the completions of a group next to each other, padded on the right.
        prefix: keys and values of the prompts, as of their own padding; then the rows are of completions alone, and
            `predictors` are as if each began with the last token of its prompt.
    """
    prompt_mask = prompts.attention_mask.bool()
    real = completion_mask[:, 1:].bool()
    if not real.shape[1]:  # completions of one token: a column of padding, so that nothing is empty
        real = torch.zeros_like(completion_mask, dtype=torch.bool)
    layout = lay_out(prompt_mask, real, inside=prefix is None)
    ids = completion_ids[layout.origins]
    leading = prompts.position_ids.shape[:-2]  # (3,) for multimodal rotary positions
    positions = (prompts.next_position[:, None] + layout.origins[1]).expand(*leading, *ids.shape)
    last = torch.zeros_like(prompts.next_position)
    inputs: dict[str, Any] = {}
    if prefix is None:
        order = real_first(prompt_mask)
        ids = torch.cat([prompts.inputs["input_ids"].gather(1, order), ids], dim=1)
        own = prompts.position_ids.gather(-1, order.expand(*leading, *order.shape))
        positions = torch.cat([own, positions], dim=-1)
        last = prompt_mask.sum(1) - 1
        inputs = dict(prompts.inputs)
    inputs |= {
        "input_ids": ids,
        # One that goes through to the layers as it is, for those that do not know of `shared_prompts`.
        "attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool, device=ids.device),
        "position_ids": positions,
        "shared_prompts": PackedPrompts(layout, prefix),
        "use_cache": False,
    }
    row, column = layout.places
    first = max(1, layout.prompt_length)
    columns = torch.cat([last.repeat_interleave(layout.group_size)[:, None], first + column], dim=1)
    predictors = columns + row[:, :1] * (first + layout.written.shape[1])
    return PackedGroups(inputs, predictors[:, : completion_mask.shape[1]])


def share_saved(prompts: EncodedPrompts, completion_mask: Tensor, *, inside: bool = True) -> float:
    """The share, in [0, 1), of the tokens of plain forwards that packed rows leave out: prompts said again, and padding.

    Args:
        completion_mask: [P * G, T], as for `pack`.
        inside: whether the prompts are in the rows, rather than computed before.
    """
    length = prompts.attention_mask.shape[1]
    count, predicted = len(completion_mask), completion_mask.shape[1] - 1  # the last token predicts nothing
    group_size = count // len(prompts)
    rows = int(completion_mask[:, 1:].reshape(len(prompts), group_size * predicted).sum(1).max())
    return 1 - len(prompts) * (length * inside + rows) / (count * (length + predicted))


def why_not_packed(model: PreTrainedModel) -> str | None:
    """What of a model's configuration forbids packed rows; None where nothing does.

    They need the attention that knows of them, and layers to which nothing else says what comes before a token.
    """
    config = model.config.get_text_config()
    if config._attn_implementation != "sdpa":
        return f"attention {config._attn_implementation!r} cannot share a prompt (use 'sdpa')"
    kinds = getattr(config, "layer_types", None)
    if unsuitable := set(kinds or ()) - {"full_attention"}:
        return f"it has layers of {', '.join(sorted(unsuitable))}"
    if not kinds and getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        return "its attention slides"
    return None
