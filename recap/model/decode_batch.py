"""What goes through the model at a decode step: a row per completion, and the prompts that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from recap.model.attention_kernels import Attended, attend_to, merge
from recap.model.kv_cache import RoomyLayer, in_autocast_dtype, make_room
from recap.model.shared_attention import KeysValues
from registry.backends.base import EncodedPrompts

Way = Literal["shared", "rows"]


@dataclass(frozen=True)
class SharedPrefix:
    """The `SharedPrompts` of a decode step: R rows of one token, each behind one of P prompts, at most w behind each.

    Attributes:
        keys_values: of each layer, [P, heads, L, d].
        bias: [P, 1, 1, L], 0 or -inf in the padding of a prompt; None: nothing is padded.
        width: w.
        sources: [P * w], the row of each place; one that has none repeats another row. None: row r has place r.
        places: [R], the place of each row; None likewise.
    """

    keys_values: list[KeysValues]
    bias: Tensor | None
    width: int
    sources: Tensor | None = None
    places: Tensor | None = None

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, dropout: float) -> Tensor:
        """See `SharedPrompts`; keys and values are those of the completions so far."""
        rows, heads, _, size = query.shape
        groups = key.shape[1]
        query = query.view(rows, groups, heads // groups, size)
        prompt_key, prompt_value = self.keys_values[layer]
        found = attend_to(self._by_prompt(query), prompt_key, prompt_value, scale, self.bias)
        of_prompt = Attended(*(self._by_row(part, heads // groups) for part in found))
        return merge(of_prompt, attend_to(query, key, value, scale)).output.reshape(rows, 1, heads, -1)

    def _by_prompt(self, query: Tensor) -> Tensor:
        """[R, groups, n, d] -> [P, groups, w * n, d]."""
        placed = query if self.sources is None else query[self.sources]
        return rearrange(placed, "(p w) h n d -> p h (w n) d", w=self.width)

    def _by_row(self, states: Tensor, repeats: int) -> Tensor:
        """[P, groups, w * n, ...] -> [R, groups, n, ...]."""
        placed = rearrange(states, "p h (w n) ... -> (p w) h n ...", n=repeats)
        return placed if self.places is None else placed[self.places]

    def of_rows(self, prompt: Tensor) -> SharedPrefix:
        """For other rows.

        Args:
            prompt: [R], of each row, ascending; a prompt that has none is not kept.
        """
        kept, index, counts = torch.unique_consecutive(prompt, return_inverse=True, return_counts=True)
        width = int(counts.max())
        row = torch.arange(len(prompt), device=prompt.device)
        places = index * width + row - (counts.cumsum(0) - counts)[index]
        sources = row.new_zeros(len(kept) * width)
        sources[places] = row
        return SharedPrefix(
            [(keys[kept], values[kept]) for keys, values in self.keys_values],
            None if self.bias is None else self.bias[kept],
            width,
            sources,
            places,
        )


class DecodeBatch:
    """What one decode step after the other goes through the model with.

    Args:
        cache: of the prompts.
        group_size: completions of each prompt.
        steps: at most as many follow.
        way: 'shared': prompts are kept once, apart from what completions add; 'rows': each row has a copy of its prompt's
            cache; None: the same for a group of one, and nothing ever leaves the batch.

    Attributes:
        completion: [R], which of P * G completions each row decodes; ascending.

    Raises:
        NotImplementedError: the cache is not a plain list of keys and values, which sharing needs.
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
        self.max_steps, self.steps = steps, 0  # of each completion, in the cache
        self.completion = torch.arange(len(prompts) * group_size, device=prompts.attention_mask.device)
        self.shared: SharedPrefix | None = None
        if way == "shared":
            self._take_apart()
        elif way == "rows":
            make_room(cache)
            # What transformers has for beams is the one way that every kind of layer knows, recurrent states included.
            cache.reorder_cache(self.completion // group_size)
        self._describe()

    def _take_apart(self) -> None:
        """Keeps the prompts' keys and values aside, and gives completions a cache of their own."""
        if not all(type(layer) is DynamicLayer for layer in self.cache.layers):
            raise NotImplementedError("its cache is not a list of keys and values")
        prompts = [(in_autocast_dtype(layer.keys), in_autocast_dtype(layer.values)) for layer in self.cache.layers]
        mask = self.prompts.attention_mask.bool()
        bias = None
        if not mask.all():
            bias = torch.zeros(mask.shape, dtype=prompts[0][0].dtype, device=mask.device)
            bias = bias.masked_fill_(~mask, -torch.inf)[:, None, None]
        self.shared = SharedPrefix(prompts, bias, self.group_size)
        self.cache = DynamicCache()
        for keys, values in prompts:
            empty = (states[:, :, :0].repeat_interleave(self.group_size, 0) for states in (keys, values))
            self.cache.layers.append(RoomyLayer(*empty))

    def _describe(self) -> None:
        """Position of the first token, and mask, of the tokens to come too, of the rows as they are."""
        prompt = self.completion // self.group_size
        self.position = self.prompts.next_position[prompt, None]
        if self.shared is not None:
            # One that goes through to the layers as it is, for those that do not know of `shared_prompts`.
            self.mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=prompt.device)
        else:
            mask = self.prompts.attention_mask[prompt]
            self.mask = torch.cat([mask, mask.new_ones(len(mask), self.max_steps)], dim=1)

    def step(self, tokens: Tensor) -> Tensor:
        """Logits of the tokens after these: [R] -> [R, V]."""
        shared = {} if self.shared is None else {"shared_prompts": self.shared}
        logits: Tensor = self.model(
            input_ids=tokens[:, None],
            attention_mask=self.mask[..., : self.prompts.attention_mask.shape[1] + self.steps + 1],
            position_ids=self.position + self.steps,
            past_key_values=self.cache,
            use_cache=True,
            **shared,
        ).logits
        self.steps += 1
        return logits[:, 0]

    def thin_out(self, running: Tensor) -> Tensor | None:
        """Lets finished completions leave, where that saves enough.

        Args:
            running: [R], which rows still decode.

        Returns: the rows that are kept, [R']; None where all are.
        """
        if self.way is None or int(running.sum()) >= 0.75 * len(running):
            return None
        kept = running.nonzero()[:, 0]
        before = torch.unique_consecutive(self.completion // self.group_size)
        self.completion = self.completion[kept]
        self.cache.reorder_cache(kept)
        if self.shared is not None:
            prompt = torch.searchsorted(before, self.completion // self.group_size)
            self.shared = self.shared.of_rows(prompt)
        self._describe()
        return kept
