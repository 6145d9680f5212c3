"""The image processors of transformers that do without torchvision, each asked to keep a limit."""

from __future__ import annotations

from typing import Any

import pytest
import transformers
from PIL import Image

from registry.backends.pixels import limit_pixels

LIMIT = 401_408  # the paper's


def pixels(processor: Any, width: int, height: int) -> int:
    grid = processor(images=[Image.new("RGB", (width, height))], return_tensors="pt")["image_grid_thw"][0]
    return int(grid.prod()) * int(processor.patch_size) ** 2


@pytest.mark.parametrize("family", ["Qwen2VL", "Glm4v", "PaddleOCRVL", "VideoLlama3"])
@pytest.mark.parametrize("size", [(80, 60), (1920, 1080), (600, 2400)])
def test_families_that_keep_it(family: str, size: tuple[int, int]) -> None:
    processor = getattr(transformers, f"{family}ImageProcessorPil")()
    unlimited = pixels(processor, *size)
    limit_pixels(processor, LIMIT)
    assert pixels(processor, *size) <= LIMIT
    assert pixels(processor, *size) == unlimited or unlimited > LIMIT / 2


@pytest.mark.parametrize(
    "family",
    [
        "SmolVLM",
        "Idefics3",
        "Pixtral",
        "Llava",
        "LlavaNext",
        "LlavaOnevision",
        "GotOcr2",
        "Gemma3",
        "Gemma4",
        "Siglip2",
    ],
)
def test_families_that_cannot(family: str) -> None:
    processor = getattr(transformers, f"{family}ImageProcessorPil")()
    before = repr(processor.size)
    with pytest.raises(
        ValueError, match=r"(?s)backends\.huggingface\.max_pixels = 401408 cannot be kept.*max_image_side"
    ):
        limit_pixels(processor, LIMIT)
    assert repr(processor.size) == before


def test_a_limit_below_the_processors_least_size() -> None:
    processor = transformers.Qwen2VLImageProcessorPil()
    with pytest.raises(ValueError, match="brings every picture to 3,136 pixels at least"):
        limit_pixels(processor, 1_000)


def test_other_processors_keep_their_own_limit() -> None:
    limit_pixels(transformers.Qwen2VLImageProcessorPil(), 200_000)
    assert transformers.Qwen2VLImageProcessorPil().size["longest_edge"] == 28 * 28 * 1280
