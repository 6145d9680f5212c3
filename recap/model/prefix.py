"""What a rollout has computed of its prompts, kept for the loss.

On the first update after a rollout the weights are those that sampled. The prefill then is the loss's forward over the
prompts, vision tower included, if it keeps the graph that backward needs: each prompt token is computed once per step, not
once in the rollout and once in the loss.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from registry.backends.base import EncodedPrompts


class Prefix:
    """P prompts in every layer's cache, with their graph; good for one backward.

    Attributes:
        keys_values: of each layer, [P, heads, L, d]; empty once it was released.
        last: [P, H], the states that the first completion tokens are predicted from.
    """

    def __init__(self, keys_values: list[tuple[Tensor, Tensor]], last: Tensor) -> None:
        self.keys_values = keys_values
        self.last: Tensor | None = last

    @property
    def held(self) -> bool:
        return self.last is not None

    def release(self) -> None:
        """Lets go of the graph; a forward that was built on it keeps what it needs."""
        self.keys_values, self.last = [], None

    def cache(self) -> DynamicCache:
        """A cache of the model that holds the prompts; appending to it leaves the prefix as it is."""
        cache = DynamicCache()
        for keys, values in self.keys_values:
            layer = DynamicLayer()
            layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True
            layer.keys, layer.values = keys, values
            cache.layers.append(layer)
        return cache


def prefill_with_graph(model: PreTrainedModel, prompts: EncodedPrompts) -> tuple[Tensor, Cache, Prefix | None]:
    """Logits of the first completion tokens, [P, V], the cache of the prompts without graph, and the prefix with it.

    The prefix is None where the cache is not a plain list of keys and values.
    """
    with torch.enable_grad():
        output = model.base_model(**prompts.inputs, position_ids=prompts.position_ids, use_cache=True)
        last = output.last_hidden_state[:, -1]
    cache = output.past_key_values
    prefix = None
    if all(type(layer) is DynamicLayer for layer in cache.layers):
        prefix = Prefix([(layer.keys, layer.values) for layer in cache.layers], last)
    with torch.no_grad():
        logits: Tensor = model.get_output_embeddings()(last)
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys.detach(), layer.values.detach()
    return logits, cache, prefix
