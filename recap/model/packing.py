"""A prompt and its G completions in one row, so that one forward computes each token once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor
from transformers import PreTrainedModel

from registry.backends.base import EncodedPrompts


class PackedGroups(NamedTuple):
    """P groups in P rows: the prompt's tokens, then those of its completions one after the other, padding last.

    A group of two, the prompt `a b c`, the completions `d e` and `f g h`; the last token of a completion predicts nothing
    and is left out:

    ```
    input_ids   a b c d f g
    position    0 1 2 3 3 4
    may attend  to itself, to what comes before it in its completion, and to the prompt
    predictors  2 3, 2 4 5        the columns whose next token is d e, f g h
    ```

    Attributes:
        inputs: keyword arguments of the model's forward; the attention mask is [P, 1, S, S].
        predictors: [P * G, T], indices into the P * S tokens of the rows; meaningless where the completion is padding.
    """

    inputs: dict[str, Any]
    predictors: Tensor


def pack(prompts: EncodedPrompts, completion_ids: Tensor, completion_mask: Tensor, *, additive: bool) -> PackedGroups:
    """Packs G completions of each of P prompts.

    Args:
        prompts: P encoded prompts.
        completion_ids, completion_mask: [P * G, T], the completions of a group next to each other, padded on the right.
        additive: whether the model's attention adds its mask to the scores (0 or about -inf) instead of taking a
            boolean one.
    """
    num_prompts, prompt_length = prompts.attention_mask.shape
    device = completion_ids.device
    group_size = completion_ids.shape[0] // num_prompts
    steps = torch.arange(completion_ids.shape[1] - 1, device=device)

    def flat(completions: Tensor) -> Tensor:
        return rearrange(completions, "(p g) t -> p (g t)", p=num_prompts)

    # Everything that may be needed side by side; then each row keeps what is real, in order.
    ids = torch.cat([prompts.inputs["input_ids"], flat(completion_ids[:, :-1])], dim=1)
    real = torch.cat([prompts.attention_mask.bool(), flat(completion_mask[:, 1:].bool())], dim=1)
    owner = torch.cat([steps.new_zeros(prompt_length), steps.new_ones(len(steps)).repeat(group_size)])
    owner[prompt_length:] = torch.arange(1, group_size + 1, device=device).repeat_interleave(len(steps))
    following = prompts.next_position[:, None] + steps.repeat(group_size)
    leading = prompts.position_ids.shape[:-2]  # (3,) for multimodal rotary positions
    positions = torch.cat([prompts.position_ids, following.expand(*leading, *following.shape)], dim=-1)

    order = (~real).to(torch.int8).argsort(dim=1, stable=True)[:, : int(real.sum(1).max())]
    owner = owner[order]
    attends = owner[:, :, None] == owner[:, None, :]
    attends |= owner[:, None, :] == 0
    attends &= real.gather(1, order)[:, None, :]
    attends = attends.tril_()[:, None]
    mask = additive_mask(attends) if additive else attends
    inputs = {
        **prompts.inputs,
        "input_ids": ids.gather(1, order),
        "attention_mask": mask,
        "position_ids": positions.gather(-1, order.expand(*leading, *order.shape)),
    }

    columns = real.cumsum(1) - 1
    last_of_prompt = repeat(columns[:, prompt_length - 1], "p -> (p g) 1", g=group_size)
    in_completion = rearrange(columns[:, prompt_length:], "p (g t) -> (p g) t", g=group_size)
    row = repeat(torch.arange(num_prompts, device=device), "p -> (p g) 1", g=group_size)
    predictors = torch.cat([last_of_prompt, in_completion], dim=1) + row * order.shape[1]
    return PackedGroups(inputs, predictors)


def pack_behind(
    prompts: EncodedPrompts, completion_ids: Tensor, completion_mask: Tensor, *, additive: bool
) -> PackedGroups:
    """Packs the completions alone, for a forward whose cache holds the prompts.

    Arguments as of `pack`. The attention mask is [P, 1, S, L + S]; `predictors` are indices into P * (1 + S) tokens: each
    row begins with the last token of its prompt, which is in the cache.
    """
    num_prompts, device = len(prompts), completion_ids.device
    group_size = completion_ids.shape[0] // num_prompts
    steps = torch.arange(completion_ids.shape[1] - 1, device=device)
    real = rearrange(completion_mask[:, 1:].bool(), "(p g) t -> p (g t)", p=num_prompts)
    ids = rearrange(completion_ids[:, :-1], "(p g) t -> p (g t)", p=num_prompts)
    owner = torch.arange(group_size, device=device).repeat_interleave(len(steps))
    positions = prompts.next_position[:, None] + steps.repeat(group_size)
    leading = prompts.position_ids.shape[:-2]

    order = (~real).to(torch.int8).argsort(dim=1, stable=True)[:, : max(1, int(real.sum(1).max()))]
    owner = owner[order]
    own = (owner[:, :, None] == owner[:, None, :]).tril_()
    prompt = prompts.attention_mask.bool()[:, None].expand(-1, own.shape[1], -1)
    attends = torch.cat([prompt, own], dim=-1)[:, None]
    inputs = {
        "input_ids": ids.gather(1, order),
        "attention_mask": additive_mask(attends) if additive else attends,
        "position_ids": positions.gather(1, order).expand(*leading, *order.shape),
    }
    first = torch.zeros(len(completion_ids), 1, dtype=torch.long, device=device)
    later = rearrange(real.cumsum(1), "p (g t) -> (p g) t", g=group_size)
    row = repeat(torch.arange(num_prompts, device=device), "p -> (p g) 1", g=group_size)
    return PackedGroups(inputs, torch.cat([first, later], dim=1) + row * (1 + order.shape[1]))


def additive_mask(attends: Tensor) -> Tensor:
    """A boolean mask as what eager attention adds to its scores: 0 or about -inf."""
    return torch.zeros(attends.shape, device=attends.device).masked_fill_(~attends, torch.finfo(torch.float32).min)


def why_not_packed(model: PreTrainedModel) -> str | None:
    """What of a model's configuration forbids packed rows; None where nothing does.

    A packed row needs an attention that takes any mask, and layers to which nothing else than the mask says what comes
    before a token.
    """
    config = model.config.get_text_config()
    if config._attn_implementation not in ("sdpa", "eager"):
        return f"attention {config._attn_implementation!r} takes no mask of its own (use 'sdpa')"
    kinds = getattr(config, "layer_types", None)
    if unsuitable := set(kinds or ()) - {"full_attention"}:
        return f"it has layers of {', '.join(sorted(unsuitable))}"
    if not kinds and getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        return "its attention slides"
    return None
