"""The decoding loop: tokens of P * G completions from P prompts."""

from __future__ import annotations

import logging
from weakref import WeakKeyDictionary

import torch
from einops import rearrange, repeat
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from recap.kv_cache import expand_to_group
from recap.scoring import same_log_probs
from registry.backends.base import EncodedPrompts, LoadedModel

logger = logging.getLogger(__name__)
_shares: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()  # models seen to share a prompt's cache, or not


def decode(
    loaded: LoadedModel,
    prompts: EncodedPrompts,
    group_size: int,
    max_new_tokens: int,
    temperature: float,
    uniforms: Tensor | None,
    *,
    shared_prefix: bool = True,
) -> tuple[Tensor, Tensor]:
    """Decodes G completions of each of P prompts.

    Args:
        temperature: of the softmax.
        uniforms: [P * G, T] in [0, 1), the random number behind each token; None: the likeliest token is taken.
        shared_prefix: one prefill per prompt, its cache expanded to the group, finished completions leaving the batch;
            otherwise as if every completion had a prompt of its own. Both are compared at the first use with a model.

    Returns: token ids and mask, [P * G, up to T], padded on the right.
    """
    settings = (max_new_tokens, temperature)
    if shared_prefix and _can_share(loaded, prompts):
        ids, mask = _decode(loaded, prompts, group_size, *settings, uniforms, share=True)
    else:
        parts = [
            _decode(loaded, prompts, 1, *settings, None if uniforms is None else uniforms[g::group_size], share=False)
            for g in range(group_size)
        ]
        ids, mask = (rearrange(torch.stack(part, dim=1), "p g t -> (p g) t") for part in zip(*parts, strict=True))
    length = int(mask.sum(1).max())
    return ids[:, :length], mask[:, :length]


def _decode(
    loaded: LoadedModel,
    prompts: EncodedPrompts,
    group_size: int,
    max_new_tokens: int,
    temperature: float,
    uniforms: Tensor | None,
    *,
    share: bool,
) -> tuple[Tensor, Tensor]:
    """The loop; returns ids and mask, [P * G, T]."""
    model = loaded.model
    logits, cache = _prefill(model, prompts)
    if share:
        expand_to_group(cache, group_size)
        logits = logits.repeat_interleave(group_size, dim=0)
    prompt_mask = repeat(prompts.attention_mask, "p l -> (p g) l", g=group_size)
    position = repeat(prompts.next_position, "p -> (p g) 1", g=group_size)
    total, prompt_length = prompt_mask.shape
    attention = torch.cat([prompt_mask, prompt_mask.new_ones(total, max_new_tokens)], dim=1)

    device = logits.device
    ids = torch.full((total, max_new_tokens), loaded.pad_token_id, device=device)
    mask = torch.zeros_like(ids)
    ends = torch.tensor(loaded.eos_token_ids, device=device)
    forbidden = _forbidden(loaded, device)
    rows = torch.arange(total, device=device)  # which completions are still in the batch
    running = torch.ones(total, dtype=torch.bool, device=device)  # of those, which have not ended
    for t in range(max_new_tokens):
        tokens = _next_tokens(logits, forbidden, temperature, None if uniforms is None else uniforms[rows, t])
        tokens = torch.where(running, tokens, loaded.pad_token_id)
        ids[rows, t] = tokens
        mask[rows, t] = running.long()
        running = running & ~torch.isin(tokens, ends)
        left = int(running.sum())
        if t + 1 == max_new_tokens or left == 0:
            break
        if share and left < 0.75 * len(rows):
            keep = running.nonzero().flatten()
            cache.batch_select_indices(keep)
            tokens, attention, position = tokens[keep], attention[keep], position[keep]
            rows, running = rows[keep], running[keep]
        logits = _one_step(model, tokens, attention[:, : prompt_length + t + 1], position + t, cache)
    return ids, mask


def _forbidden(loaded: LoadedModel, device: torch.device) -> Tensor:
    return torch.tensor(loaded.forbidden_token_ids, dtype=torch.long, device=device)


def _prefill(model: PreTrainedModel, prompts: EncodedPrompts) -> tuple[Tensor, Cache]:
    """Logits of the first completion tokens, [P, V], and the cache of the prompts."""
    output = model(**prompts.inputs, position_ids=prompts.position_ids, use_cache=True, logits_to_keep=1)
    return output.logits[:, -1], output.past_key_values


def _one_step(model: PreTrainedModel, tokens: Tensor, attention: Tensor, position: Tensor, cache: Cache) -> Tensor:
    """Logits of the tokens after these, [B, V]."""
    logits: Tensor = model(
        input_ids=tokens[:, None],
        attention_mask=attention,
        position_ids=position,
        past_key_values=cache,
        use_cache=True,
    ).logits
    return logits[:, -1]


def _next_tokens(logits: Tensor, forbidden: Tensor, temperature: float, uniforms: Tensor | None) -> Tensor:
    """The next token of every row: drawn, or without random numbers the likeliest; logits [B, V], uniforms [B]."""
    logits = logits.float().index_fill(-1, forbidden, -torch.inf)
    if uniforms is None:
        return logits.argmax(-1)
    # Softmax up to a factor, which inverting does not need.
    return invert(logits.sub_(logits.amax(-1, keepdim=True)).div_(temperature).exp_(), uniforms)


def invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """The token at which the cumulative distribution passes each random number.

    Args:
        weights: [B, V], probabilities up to a factor per row.
        uniforms: [B], in [0, 1).
    """
    cumulative = weights.cumsum(-1)
    whole = cumulative[:, -1:]
    # Rounding may lift the product to the whole, which nothing passes.
    target = torch.minimum(uniforms[:, None] * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    tokens = torch.searchsorted(cumulative, target, right=True)
    # A GPU sums in no fixed order: a later sum can be smaller by a rounding, and an impossible token be found there.
    tokens = tokens.clamp(max=weights.shape[-1] - 1)
    possible = weights.gather(-1, tokens) > 0
    if not bool(possible.all()):
        tokens = torch.where(possible, tokens, weights.argmax(-1, keepdim=True))
    return tokens[:, 0]


def _can_share(loaded: LoadedModel, prompts: EncodedPrompts) -> bool:
    """Whether a decode step from the expanded cache gives what the plain forward gives; asked once per model."""
    model = loaded.model
    if model not in _shares:
        reason = _why_not_shared(loaded, prompts)
        _shares[model] = reason is None
        if reason is not None:
            logger.warning("%s: prefilling each prompt once per completion: %s", type(model).__name__, reason)
    return _shares[model]


def _why_not_shared(loaded: LoadedModel, prompts: EncodedPrompts) -> str | None:
    model, device = loaded.model, prompts.attention_mask.device
    second = torch.arange(len(prompts), device=device) * 2 + 1
    attention = torch.cat([prompts.attention_mask, torch.ones_like(prompts.attention_mask[:, :1])], dim=1)
    position = prompts.next_position[:, None]
    logits, cache = _prefill(model, prompts)
    tokens = _next_tokens(logits, _forbidden(loaded, device), 1.0, None)
    try:
        expand_to_group(cache, 2)
        cache.batch_select_indices(second)
        found = _one_step(model, tokens, attention, position, cache).float()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a cache raises that cannot be expanded
        return f"{type(error).__name__}: {error}"
    leading = prompts.position_ids.shape[:-2]
    expected = model(
        **{
            **prompts.inputs,
            "input_ids": torch.cat([prompts.inputs["input_ids"], tokens[:, None]], dim=1),
            "attention_mask": attention,
            "position_ids": torch.cat([prompts.position_ids, position.expand(*leading, *position.shape)], dim=-1),
            "use_cache": False,
            "logits_to_keep": 1,
        }
    ).logits[:, -1]
    difference = (found.log_softmax(-1) - expected.float().log_softmax(-1)).abs()
    if not same_log_probs(model, difference):
        return f"log-probs differ by up to {float(difference.max()):.2g}"
    return None
