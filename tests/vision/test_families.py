"""Families that see, by their own processors: what a batch is encoded to, and which of them can keep `max_pixels`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

pytest.importorskip("torchvision", reason="make test-vision")

from registry.backends.base import LoadedModel
from registry.backends.huggingface import HuggingFace
from registry.example import Example
from tools.tiny_families import VISION_FAMILIES, save_family

pytestmark = pytest.mark.vision
SIZES: list[list[tuple[int, int]]] = [[(80, 60)], [], [(60, 60), (100, 40)], [(40, 90), (56, 56), (30, 30)]]
KEEP_A_LIMIT = {"Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL"}


@pytest.fixture(scope="module", params=VISION_FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    if request.param == "SmolVLM":
        pytest.importorskip("num2words", reason="SmolVLM's processor needs it")
    directory = tmp_path_factory.mktemp("family")
    save_family(request.param, directory)
    return request.param, directory


def examples() -> list[Example]:
    return [
        Example(
            id=f"{index}",
            question="what?" + " and why?" * index,
            answer="",
            images=tuple(Image.effect_noise(size, 40.0).convert("RGB") for size in own),
        )
        for index, own in enumerate(SIZES)
    ]


def encoded_by_processor(loaded: LoadedModel, given: list[Example]) -> dict[str, torch.Tensor]:
    conversations = [
        [
            {
                "role": "user",
                "content": [
                    *({"type": "image", "image": image} for image in example.images),
                    {"type": "text", "text": example.question},
                ],
            }
        ]
        for example in given
    ]
    return dict(
        loaded.processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "left", "add_special_tokens": False},
        )
    )


@pytest.mark.parametrize("which", [(0, 2), (0, 1, 2, 3), (1, 3), (2,)], ids=str)
def test_prompts_with_pictures_are_encoded_as_the_processor_does(
    family: tuple[str, Path], which: tuple[int, ...]
) -> None:
    loaded = HuggingFace(str(family[1]), dtype="float32").load()
    given = [examples()[index] for index in which]
    found = loaded.encode([example.question for example in given], given, torch.device("cpu")).inputs
    expected = encoded_by_processor(loaded, given)
    assert "pixel_values" in found
    assert set(expected) - set(found) <= {"mm_token_type_ids"}
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name


def test_max_pixels_is_kept_or_refused(family: tuple[str, Path]) -> None:
    name, directory = family
    backend = HuggingFace(str(directory), dtype="float32", max_pixels=20_000)
    if name not in KEEP_A_LIMIT:
        with pytest.raises(ValueError, match=r"backends\.huggingface\.max_pixels = 20000 cannot be kept"):
            backend.load()
        return
    image = Image.effect_noise((400, 300), 40.0).convert("RGB")
    loaded = backend.load()
    encoded = loaded.encode(["?"], [Example(id="", question="?", answer="", images=(image,))], torch.device("cpu"))
    (size,) = encoded.processed_sizes
    assert size is not None
    assert 14_000 < size[0] * size[1] <= 20_000
