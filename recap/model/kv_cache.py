"""The key/value cache of a rollout: one prefill per prompt, shared by its completions, growing without copies."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer


class AutocastCache(DynamicCache):  # type: ignore[misc]
    """The stock cache, but under autocast its keys and values are held in the precision that attention will take them in.

    Rotary positions promote keys to fp32, the stock cache values with them, and attention casts both down again at every step:
    held in bf16 they are the same numbers in half the memory, cast once. The cast is part of the graph where there is one.
    """

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        held: tuple[Tensor, Tensor] = super().update(
            in_autocast_dtype(key_states), in_autocast_dtype(value_states), layer_idx, *args, **kwargs
        )
        return held


def in_autocast_dtype(states: Tensor) -> Tensor:
    """The states in the precision that autocast computes in; as they are without it."""
    kind = states.device.type
    if states.dtype == torch.float32 and torch.is_autocast_enabled(kind):
        return states.to(torch.get_autocast_dtype(kind))
    return states


def new_cache(model: PreTrainedModel) -> Cache | None:
    """An empty cache for a model, such as `generate` would give it; None for the few that bring a kind of their own."""
    if not model._supports_default_dynamic_cache():
        return None
    return AutocastCache(config=model.config.get_text_config(decoder=True))


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """A layer of a `DynamicCache` with room for tokens to come.

    The stock layer concatenates: every decode step allocates and copies the whole cache. This one writes into memory that
    it has, and doubles the room for new tokens when that is full.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self.room = 64  # tokens
        self._move(keys, values)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Appends [B, heads, n, d] and returns all, views of [B, heads, length, d]."""
        before = self.keys.shape[2]
        after = before + key_states.shape[2]
        while after > self._keys.shape[2]:
            self.room *= 2
            self._move(self.keys, self.values)
        self._keys[:, :, before:after] = key_states
        self._values[:, :, before:after] = value_states
        self._show(after)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keeps these rows, [B'], in this order; one may come several times."""
        self._move(self.keys[beam_idx], self.values[beam_idx])

    def _move(self, keys: Tensor, values: Tensor) -> None:
        """Moves states, [B, heads, length, d], to memory with room for more."""
        batch, heads, length, width = keys.shape
        self._keys = keys.new_empty(batch, heads, length + self.room, width)
        self._values = values.new_empty(batch, heads, length + self.room, values.shape[3])
        self._keys[:, :, :length] = keys
        self._values[:, :, :length] = values
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys, self.values = self._keys[:, :, :length], self._values[:, :, :length]


def make_room(cache: Cache) -> None:
    """Gives the stock layers of a prefilled cache room to grow."""
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.get_seq_length() > 0:
            cache.layers[index] = RoomyLayer(layer.keys, layer.values)
