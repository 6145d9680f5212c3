"""The decoding loop: tokens of P * G completions from P prompts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

import torch
from einops import rearrange
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from recap.model.kv_cache import can_rearrange, make_room
from recap.model.packing import additive_mask, why_not_packed
from recap.model.precision import probing
from recap.model.prefix import Prefix, prefill_with_graph
from recap.model.settling import same_log_probs
from recap.model.slots import columns_of, cost, filled_slots, places_of, share_out, slot_mask, whole_groups
from registry.backends.base import EncodedPrompts, LoadedModel, tiled

logger = logging.getLogger(__name__)
Way = Literal["slots", "rows"]
_ways: WeakKeyDictionary[PreTrainedModel, Way | None] = WeakKeyDictionary()  # how each model shares a prompt's cache


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
        shared_prefix: one prefill per prompt, its keys and values shared by the group (`slots.py`), finished completions
            leaving the batch; otherwise as if every completion had a prompt of its own. Both are compared at the first use
            with a model.
        keep_prefix: whether the prefill keeps its graph for the loss.

    Returns: token ids and mask, [P * G, up to T], padded on the right; the prefix, where it was to be kept and could be.
    """
    settings = (max_new_tokens, temperature)
    prefix = None
    if shared_prefix and (way := _way_to_share(loaded, prompts)):
        if keep_prefix:
            *prefilled, prefix = prefill_with_graph(loaded.model, prompts)
        else:
            prefilled = [*_prefill(loaded.model, prompts)]
        ids, mask = _decode(loaded, prompts, prefilled, group_size, *settings, uniforms, way)
    else:
        copies = tiled(prompts, group_size)
        if uniforms is not None:
            uniforms = rearrange(uniforms, "(p g) t -> (g p) t", g=group_size)
        ids, mask = _decode(loaded, copies, _prefill(loaded.model, copies), 1, *settings, uniforms, None)
        ids, mask = (rearrange(part, "(g p) t -> (p g) t", g=group_size) for part in (ids, mask))
    length = int(mask.sum(1).max())
    return ids[:, :length], mask[:, :length], prefix


class _DecodeBatch:
    """What one decode step after the other goes through the model with: slots, their tokens' mask, positions and cache.

    Args:
        way: 'slots': a row holds a prompt once; 'rows': it holds one completion, with a copy of the prompt's cache; None:
            the same for a group of one, and nothing ever leaves the batch.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: EncodedPrompts,
        cache: Cache,
        group_size: int,
        steps: int,
        way: Way | None,
    ) -> None:
        self.model, self.prompts, self.cache = model, prompts, cache
        self.group_size, self.way = group_size, way
        self.max_steps, self.steps = steps, 0  # in the cache, of each completion
        self.slots = whole_groups(
            len(prompts), group_size, group_size if way == "slots" else 1, prompts.attention_mask.device
        )
        if way is not None:
            make_room(cache)
        if way == "rows":
            # What transformers has for beams is the one way that every kind of layer knows, recurrent states included.
            cache.reorder_cache(
                torch.arange(len(prompts), device=self.slots.completion.device).repeat_interleave(group_size)
            )
        self._describe()

    def _describe(self) -> None:
        """Mask, of the tokens to come too, and positions of the rows as they are."""
        row_prompt = self.slots.completion[:, 0] // self.group_size
        mask = self.prompts.attention_mask[row_prompt]
        self.position = self.prompts.next_position[row_prompt, None].expand(-1, self.slots.width)
        if self.way == "slots":
            self.mask = slot_mask(mask, self.slots.width, self.max_steps)
            if self.model.config.get_text_config()._attn_implementation == "eager":
                self.mask = additive_mask(self.mask)
        else:
            self.mask = torch.cat([mask, mask.new_ones(len(mask), self.max_steps)], dim=1)

    def step(self, tokens: Tensor) -> Tensor:
        """Logits of the tokens after these: [R, w] -> [R, w, V]."""
        width = self.slots.width
        length = self.prompts.attention_mask.shape[1] + width * (self.steps + 1)
        logits: Tensor = self.model(
            input_ids=tokens,
            attention_mask=self.mask[..., :length],
            position_ids=self.position + self.steps,
            past_key_values=self.cache,
            use_cache=True,
        ).logits
        self.steps += 1
        return logits

    def thin_out(self, running: Tensor) -> Tensor | None:
        """Lets finished completions leave, where that saves enough.

        Args:
            running: [R, w], which slots still decode; never one that only repeats another.

        Returns: of the new slots, their places in the old ones, flat, [R' * w']; None where nothing changes.
        """
        if self.way is None or int(running.sum()) >= 0.75 * running.numel():
            return None
        before, length = self.slots, int(self.prompts.attention_mask.shape[1])
        left = before.completion[running].tolist()
        if self.way == "slots":
            rows = share_out(left, self.group_size, length, self.steps)
            present = cost(len(running), before.width, length, self.steps)
            if cost(len(rows), max(map(len, rows)), length, self.steps) > 0.8 * present:
                return None
        else:
            rows = [[completion] for completion in left]
        self.slots = filled_slots(rows, running.device)
        places = places_of(self.slots, before)
        if self.way == "slots":
            moved = columns_of(places, before.width, length, self.steps)
            for layer in self.cache.layers:
                layer.rearrange(*moved)
        else:
            self.cache.reorder_cache(places.flatten())
        self._describe()
        return places.flatten()


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
    batch = _DecodeBatch(loaded.model, prompts, cache, group_size, max_new_tokens, way)
    logits = first.repeat_interleave(group_size, dim=0)  # [R * w, V]
    ids = torch.full((len(prompts) * group_size, max_new_tokens), loaded.pad_token_id, device=device)
    mask = torch.zeros_like(ids)
    ends = torch.tensor(loaded.eos_token_ids, device=device)
    forbidden = _forbidden(loaded, device)
    running = torch.ones(batch.slots.completion.shape, dtype=torch.bool, device=device)  # [R, w]
    for t in range(max_new_tokens):
        completion = batch.slots.completion.flatten()
        tokens = _next_tokens(logits, forbidden, temperature, None if uniforms is None else uniforms[completion, t])
        tokens = torch.where(running.flatten(), tokens, loaded.pad_token_id)
        written = batch.slots.filled.flatten()
        ids[completion[written], t] = tokens[written]
        mask[completion[written], t] = running.flatten()[written].long()
        running = running & ~torch.isin(tokens, ends).view_as(running)
        if t + 1 == max_new_tokens or not running.any():
            break
        if (places := batch.thin_out(running)) is not None:
            tokens = tokens[places]
            running = batch.slots.filled
        logits = batch.step(tokens.view_as(running)).flatten(0, 1)
    return ids, mask


def _forbidden(loaded: LoadedModel, device: torch.device) -> Tensor:
    return torch.tensor(loaded.forbidden_token_ids, dtype=torch.long, device=device)


def _prefill(model: PreTrainedModel, prompts: EncodedPrompts) -> tuple[Tensor, Cache]:
    """Logits of the first completion tokens, [P, V], and the cache of the prompts."""
    output = model(**prompts.inputs, position_ids=prompts.position_ids, use_cache=True, logits_to_keep=1)
    return output.logits[:, -1], output.past_key_values


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


def _way_to_share(loaded: LoadedModel, prompts: EncodedPrompts) -> Way | None:
    """The first way of sharing whose decode steps give what the plain forward gives; asked once per model."""
    model = loaded.model
    if model not in _ways:
        reasons: list[str] = []
        _ways[model] = next((way for way in get_args(Way) if _stands(loaded, prompts, way, reasons)), None)
        if reasons:
            kind = type(model).__name__
            what = "one row per completion" if _ways[model] else "prefilling each prompt once per completion"
            logger.warning("%s: decoding with %s: %s", kind, what, "; ".join(dict.fromkeys(reasons)))
    return _ways[model]


@probing()
def _stands(loaded: LoadedModel, prompts: EncodedPrompts, way: Way, reasons: list[str]) -> bool:
    """Whether two steps of two completions per prompt, the second of them, are those of the plain forward."""
    model = loaded.model
    if way == "slots" and (reason := why_not_packed(model)):
        reasons.append(reason)
        return False
    logits, cache = _prefill(model, prompts)
    logits = logits.float().index_fill(-1, _forbidden(loaded, logits.device), -torch.inf)
    tokens = logits.topk(2).indices  # [P, 2]: two completions, each its token twice
    try:
        batch = _DecodeBatch(model, prompts, cache, 2, 2, way)
        if way == "slots" and not can_rearrange(cache):
            reasons.append("its cache is not a list of keys and values")
            return False
        for _ in range(2):
            found = batch.step(tokens.reshape(batch.slots.completion.shape))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a cache or a model raises that cannot do it
        reasons.append(f"{type(error).__name__}: {error}")
        return False
    found = found.flatten(0, 1)[1::2].float()
    second = tokens[:, 1:].expand(-1, 2)
    attention = torch.cat([prompts.attention_mask, torch.ones_like(second)], dim=1)
    position = prompts.next_position[:, None] + torch.arange(2, device=second.device)
    leading = prompts.position_ids.shape[:-2]
    expected = model(
        **{
            **prompts.inputs,
            "input_ids": torch.cat([prompts.inputs["input_ids"], second], dim=1),
            "attention_mask": attention,
            "position_ids": torch.cat([prompts.position_ids, position.expand(*leading, *position.shape)], dim=-1),
            "use_cache": False,
            "logits_to_keep": 1,
        }
    ).logits[:, -1]
    difference = (found.log_softmax(-1) - expected.float().log_softmax(-1)).abs()
    if not same_log_probs(model, difference):
        reasons.append(f"log-probs differ by up to {float(difference.max()):.2g}")
        return False
    return True
