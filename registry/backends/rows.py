"""Some of the prompts of a batch that was encoded, without encoding them anew: pictures are processed once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from registry.backends.base import EncodedPrompts


def rows_of(encoded: EncodedPrompts, rows: Sequence[int], pictures: Sequence[int]) -> EncodedPrompts | None:
    """The prompts of these rows, in this order; as they would be encoded by themselves.

    What a vision tower takes has a row per prompt, picture or patch, in the order of the prompts. Which of them it is follows
    from their number; None where that does not tell.

    Args:
        rows: numbers of the prompts, P' of P.
        pictures: how many each of the P prompts has.
    """
    if any(pictures) and not any(pictures[row] for row in rows):
        return None  # without pictures, positions have another shape
    mask = encoded.attention_mask
    start = mask.shape[1] - int(mask[list(rows)].sum(1).max())  # padding stands on the left
    inputs = {}
    for name, tensor in encoded.inputs.items():
        if tensor.shape == mask.shape:
            inputs[name] = tensor[list(rows), start:]
            continue
        sizes = _sizes(tensor, pictures, encoded.inputs.get("image_grid_thw"))
        if sizes is None:
            return None
        parts = torch.split(tensor, sizes)
        inputs[name] = torch.cat([parts[row] for row in rows])
    return EncodedPrompts(
        inputs,
        encoded.position_ids[..., list(rows), start:],
        encoded.next_position[list(rows)],
        [encoded.processed_sizes[row] for row in rows],
    )


def _sizes(tensor: Tensor, pictures: Sequence[int], grids: Tensor | None) -> list[int] | None:
    """How many rows of a tensor belong to each prompt."""
    candidates = [list(pictures)]
    if grids is not None:
        patches = iter(grids.prod(1).tolist())
        candidates.append([sum(next(patches) for _ in range(number)) for number in pictures])
    elif sum(pictures) == len(pictures) != pictures.count(1):
        return None  # a row per prompt, or one per picture?
    return next((sizes for sizes in candidates if sum(sizes) == len(tensor)), None)
