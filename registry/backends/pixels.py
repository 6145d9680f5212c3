"""A limit to the pixels of pictures, for the image processors that know one."""

from __future__ import annotations

from math import ceil, sqrt
from typing import Any

from PIL import Image


def limit_pixels(image_processor: Any, max_pixels: int) -> None:
    """Has pictures shrunk to `max_pixels` pixels, as Qwen's processors do, and sees that they are.

    The same key, ``longest_edge``, is a number of pixels for some families, a side for others (Idefics 3, SmolVLM, Pixtral)
    and ignored by the rest (LLaVA, InternVL, Gemma 3). So a large and a small picture are processed and their patches counted.

    Raises:
        ValueError: the processor does not bring pictures below the limit; it is left as it was.
    """
    before = image_processor.size or {}
    if "shortest_edge" not in before or "longest_edge" not in before:
        _refuse(image_processor, max_pixels, "has no such limit")
    if before["shortest_edge"] > max_pixels:
        _refuse(image_processor, max_pixels, f"brings every picture to {before['shortest_edge']:,} pixels at least")
    image_processor.size = type(before)(**{**dict(before), "longest_edge": max_pixels})
    for side in (ceil(sqrt(2 * max_pixels)), ceil(sqrt(max_pixels / 4))):
        seen = _pixels(image_processor, side)
        if seen is None or seen > max_pixels:
            image_processor.size = before
            became = "no grid of patches" if seen is None else f"{seen:,} pixels"
            _refuse(image_processor, max_pixels, f"makes {became} of a picture of {side} x {side} under it")


def _pixels(image_processor: Any, side: int) -> int | None:
    """Pixels of the patches of a square picture; None where the processor does not tell them."""
    processed = image_processor(images=[Image.new("RGB", (side, side))], return_tensors="pt")
    if "image_grid_thw" not in processed:
        return None
    return int(processed["image_grid_thw"][0].prod()) * int(image_processor.patch_size) ** 2


def _refuse(image_processor: Any, max_pixels: int, reason: str) -> None:
    kind, size = type(image_processor).__name__, dict(image_processor.size or {})
    raise ValueError(
        f"backends.huggingface.max_pixels = {max_pixels} cannot be kept by this model's {kind}: it {reason} (its size: {size})."
        " Set backends.huggingface.max_pixels = None, and shrink pictures where they are read, by max_image_side of"
        " replay.hub_dataset, replay.jsonl or replay.parquet"
    )
