"""What a rollout has computed of its prompts, kept for the loss.

On the first update after a rollout the weights are those that sampled. The prefill then is the loss's forward over the
prompts, vision tower included, if it keeps the graph that backward needs: each prompt token is computed once per step, not
once in the rollout and once in the loss.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

from recap.model.kv_cache import AutocastCache, new_cache
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

    def cache(self) -> AutocastCache:
        """A cache of the model that holds the prompts; appending to it leaves the prefix as it is."""
        cache = AutocastCache()
        for keys, values in self.keys_values:
            layer = DynamicLayer()
            layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True
            layer.keys, layer.values = keys, values
            cache.layers.append(layer)
        return cache


def prefill(
    model: PreTrainedModel, prompts: EncodedPrompts, *, keep_prefix: bool = False
) -> tuple[Tensor, Cache, Prefix | None]:
    """Logits of the first completion tokens, [P, V], and the cache of the prompts, without graph; and, kept for the loss, the
    prefix with it.

    One forward of the whole model, so that the logits are its own, with all that its head does; the states which they come
    from are caught on their way there. The prefix is None where it is not to be kept, where the cache is not a plain list of
    keys and values, and where the model does not show its states.
    """
    cache = new_cache(model)
    keep_prefix = keep_prefix and cache is not None and all(type(layer) is DynamicLayer for layer in cache.layers)
    last: list[Tensor] = []

    def catch(layers: nn.Module, inputs: object, output: object) -> None:
        if (states := getattr(output, "last_hidden_state", None)) is not None:
            last.append(states[:, -1])

    handle = model.base_model.register_forward_hook(catch)
    try:
        with torch.set_grad_enabled(keep_prefix):
            output = model(
                **prompts.inputs,
                position_ids=prompts.position_ids,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
    finally:
        handle.remove()
    prefix, cache = None, output.past_key_values
    if keep_prefix:
        if last:
            prefix = Prefix([(layer.keys, layer.values) for layer in cache.layers], last[0])
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys.detach(), layer.values.detach()
    return output.logits[:, -1].detach(), cache, prefix
