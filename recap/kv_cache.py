"""The key/value cache of a rollout: one prefill per prompt, expanded to the group, growing without copies."""

from __future__ import annotations

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """A layer of a `DynamicCache` with room for tokens to come.

    The stock layer concatenates: every decode step allocates and copies the whole cache. This one writes into memory that
    it has, and doubles the room for new tokens when that is full.
    """

    def __init__(self, layer: DynamicLayer, repeats: int) -> None:
        super().__init__()
        self.dtype, self.device = layer.dtype, layer.device
        self.is_initialized = True
        self.room = 64  # tokens
        self.keys, self.values = layer.keys, layer.values
        self._enlarge(layer.keys.shape[0] * repeats, repeats)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Appends [B, heads, n, d] and returns all, views of [B, heads, length, d]."""
        batch, before = self.keys.shape[0], self.keys.shape[2]
        after = before + key_states.shape[2]
        while after > self._keys.shape[2]:
            self.room *= 2
            self._enlarge(batch)
        self._keys[:batch, :, before:after] = key_states
        self._values[:batch, :, before:after] = value_states
        self._show(batch, after)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps these rows, [B'], in place."""
        length = self.keys.shape[2]
        self._keys[: len(indices), :, :length] = self.keys[indices]
        self._values[: len(indices), :, :length] = self.values[indices]
        self._show(len(indices), length)

    def _enlarge(self, batch: int, repeats: int = 1) -> None:
        """Moves the states, each row repeated, to memory with room for more."""
        _, heads, length, _ = self.keys.shape
        memories = []
        for states in (self.keys, self.values):
            memory = states.new_empty(batch, heads, length + self.room, states.shape[3])
            memory.unflatten(0, (-1, repeats))[..., :length, :] = states[:, None]
            memories.append(memory)
        self._keys, self._values = memories
        self._show(batch, length)

    def _show(self, batch: int, length: int) -> None:
        self.keys, self.values = self._keys[:batch, :, :length], self._values[:batch, :, :length]


def expand_to_group(cache: Cache, group_size: int) -> None:
    """Repeats every row of a prefilled cache `group_size` times; stock layers get room to grow."""
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.get_seq_length() > 0:
            cache.layers[index] = RoomyLayer(layer, group_size)
        else:
            layer.batch_repeat_interleave(group_size)
