"""The decoding loop: tokens of P * G completions from P prompts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from einops import rearrange
from torch import Tensor
from transformers import PreTrainedModel

from recap.model.decode_batch import DecodeBatch, Way
from recap.model.forwards import plain_states
from recap.model.packing import why_not_packed
from recap.model.precision import probing
from recap.model.prefix import Prefix, prefill
from recap.model.settling import Settled, settle
from recap.model.token_scores import log_probabilities
from registry.backends.base import EncodedPrompts, LoadedModel, tiled

logger = logging.getLogger(__name__)
_ways: WeakKeyDictionary[PreTrainedModel, Settled[Way | None]] = WeakKeyDictionary()  # how each model shares prompts
PROBE_STEPS = 4  # of decoding, in the comparison


def decode(
    loaded: LoadedModel,
    prompts: EncodedPrompts,
    group_size: int,
    max_new_tokens: int,
    temperature: float,
    uniforms: Tensor | None,
    *,
    shared_prefix: bool = True,
    keep_prefix: bool = False,
) -> tuple[Tensor, Tensor, Prefix | None]:
    """Decodes G completions of each of P prompts.

    Args:
        temperature: of the softmax.
        uniforms: [P * G, T] in [0, 1), the random number behind each token; None: the likeliest token is taken.
        shared_prefix: one prefill per prompt, its keys and values shared by the group, finished completions leaving the batch;
            otherwise as if every completion had a prompt of its own. Both are compared at the first use
            with a model, unless `settle_decoding` was called before.
        keep_prefix: whether the prefill keeps its graph for the loss.

    Returns: token ids and mask, [P * G, up to T], padded on the right; the prefix, where it was to be kept and could be.
    """
    settings = (max_new_tokens, temperature)
    prefix = None
    way = settle_decoding(loaded, prompts).way if shared_prefix else None
    if way is not None:
        *prefilled, prefix = prefill(loaded.model, prompts, keep_prefix=keep_prefix)
        ids, mask = _decode(loaded, prompts, prefilled, group_size, *settings, uniforms, way)
    else:
        copies = tiled(prompts, group_size)
        if uniforms is not None:
            uniforms = rearrange(uniforms, "(p g) t -> (g p) t", g=group_size)
        ids, mask = _decode(loaded, copies, prefill(loaded.model, copies)[:2], 1, *settings, uniforms, None)
        ids, mask = (rearrange(part, "(g p) t -> (p g) t", g=group_size) for part in (ids, mask))
    length = int(mask.sum(1).max())
    return ids[:, :length], mask[:, :length], prefix


def _decode(
    loaded: LoadedModel,
    prompts: EncodedPrompts,
    prefilled: Sequence[Any],
    group_size: int,
    max_new_tokens: int,
    temperature: float,
    uniforms: Tensor | None,
    way: Way | None,
) -> tuple[Tensor, Tensor]:
    """The loop, from the logits of the first tokens and the cache of the prompts; returns ids and mask, [P * G, T]."""
    first, cache = prefilled
    device = first.device
    batch = DecodeBatch(loaded.model, prompts, cache, group_size, max_new_tokens, way)
    logits = first.repeat_interleave(group_size, dim=0)  # [R, V]
    ids = torch.full((len(prompts) * group_size, max_new_tokens), loaded.pad_token_id, device=device)
    mask = torch.zeros_like(ids)
    ends = torch.tensor(loaded.eos_token_ids, device=device)
    forbidden = _forbidden(loaded, device)
    running = torch.ones_like(batch.completion, dtype=torch.bool)
    for t in range(max_new_tokens):
        completion = batch.completion
        tokens = _next_tokens(logits, forbidden, temperature, None if uniforms is None else uniforms[completion, t])
        tokens = torch.where(running, tokens, loaded.pad_token_id)
        ids[completion, t] = tokens
        mask[completion, t] = running.long()
        running = running & ~torch.isin(tokens, ends)
        if t + 1 == max_new_tokens or not running.any():
            break
        if (kept := batch.thin_out(running)) is not None:
            tokens, running = tokens[kept], running[kept]
        logits = batch.step(tokens)
    return ids, mask


def _forbidden(loaded: LoadedModel, device: torch.device) -> Tensor:
    return torch.tensor(loaded.forbidden_token_ids, dtype=torch.long, device=device)


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


def decoding_way(model: PreTrainedModel) -> Settled[Way | None] | None:
    """How the completions of a model share their prompt's cache, and why; None where nothing was decoded yet.

    The ways are those of `DecodeBatch`; None: nothing is shared.
    """
    return _ways.get(model)


@probing()
def settle_decoding(
    loaded: LoadedModel, prompts: EncodedPrompts, agree: Callable[[bool], bool] = bool
) -> Settled[Way | None]:
    """The first way of sharing whose decode steps give what the plain forward gives; found out once per model.

    Compared are the distributions of the first tokens and of those after each of `PROBE_STEPS` steps, of two completions
    per prompt, of which the second must not notice the first.

    Args:
        agree: whether something holds on all processes: then all of them must come here for the first time together, each
            with a prompt at least (`recap.sampling.first_use`).
    """
    model = loaded.model
    if model in _ways:
        return _ways[model]
    refused = why_not_packed(model)
    first = (
        prefill(model, prompts)[0].float().index_fill(-1, _forbidden(loaded, prompts.attention_mask.device), -torch.inf)
    )
    tokens = first.topk(2).indices  # [P, 2]: two completions, each its token again and again

    def distributions(way: Way | None) -> Tensor:
        """[P * (1 + PROBE_STEPS), V]"""
        if way is None:
            second = tokens[:, 1:].expand(-1, 1 + PROBE_STEPS)
            logits = plain_states(model, prompts, second, torch.ones_like(second), logits=True)
            return log_probabilities(logits, loaded.forbidden_token_ids, 1.0)
        logits, cache, _ = prefill(model, prompts)
        batch = DecodeBatch(model, prompts, cache, 2, PROBE_STEPS, way)
        steps = [batch.step(tokens.flatten())[1::2] for _ in range(PROBE_STEPS)]
        return log_probabilities(torch.stack([logits, *steps], dim=1).flatten(0, 1), loaded.forbidden_token_ids, 1.0)

    ways: list[Way | None] = ["rows", None] if refused else ["shared", "rows", None]
    settled = settle(model, ways, distributions, agree)
    if refused:
        settled = replace(settled, wanted="shared", reason="; ".join(filter(None, [refused, settled.reason])))
    if settled.fell_back:
        what = "one row per completion" if settled.way else "a prompt of its own for each completion"
        logger.warning("%s: decoding with %s: %s", type(model).__name__, what, settled.reason)
    _ways[model] = settled
    return settled
