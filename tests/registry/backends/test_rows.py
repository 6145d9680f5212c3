"""Some prompts of an encoded batch are what encoding them by themselves gives."""

from __future__ import annotations

import itertools

import pytest
import torch
from PIL import Image

from registry.backends.base import EncodedPrompts, LoadedModel
from registry.backends.rows import rows_of
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL
from registry.example import Example

CPU = torch.device("cpu")
SIZES: tuple[tuple[tuple[int, int], ...], ...] = (
    (),
    ((80, 60), (30, 90)),
    ((56, 56),),
    (),
)  # of each prompt's pictures


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return TinyQwen2_5_VL(weights="random").load()


def examples() -> list[Example]:
    colours = itertools.cycle(["red", "green", "blue"])
    return [
        Example(str(n), "what?" * (n + 1), "1", tuple(Image.new("RGB", size, next(colours)) for size in sizes))
        for n, sizes in enumerate(SIZES)
    ]


def encode(loaded: LoadedModel, chosen: list[Example]) -> EncodedPrompts:
    return loaded.encode([example.question for example in chosen], chosen, CPU)


@pytest.mark.parametrize("rows", [[0, 1], [2, 0], [1, 2], [3, 2, 1, 0], [1], [2], [0, 3], [0]], ids=str)
def test_with_pictures(loaded: LoadedModel, rows: list[int]) -> None:
    batch = examples()
    found = rows_of(encode(loaded, batch), rows, [len(example.images) for example in batch])
    if not any(SIZES[row] for row in rows):
        assert found is None
        return
    same(found, encode(loaded, [batch[row] for row in rows]))


@pytest.mark.parametrize("rows", [[0, 1], [2], [3, 1]], ids=str)
def test_text_alone(loaded: LoadedModel, rows: list[int]) -> None:
    batch = [example.without_images() for example in examples()]
    found = rows_of(encode(loaded, batch), rows, [0] * len(batch))
    same(found, encode(loaded, [batch[row] for row in rows]))


def same(found: EncodedPrompts | None, expected: EncodedPrompts) -> None:
    assert found is not None
    assert found.inputs.keys() == expected.inputs.keys()
    for name, tensor in expected.inputs.items():
        assert torch.equal(found.inputs[name], tensor), name
    real = expected.attention_mask.bool()
    assert torch.equal(found.position_ids[..., real], expected.position_ids[..., real])
    assert torch.equal(found.next_position, expected.next_position)
    assert found.processed_sizes == expected.processed_sizes


def test_what_cannot_be_told_is_encoded_anew() -> None:
    """As many rows as prompts and as pictures: of a processor that gives a row per picture, or per prompt."""
    mask = torch.ones(2, 5, dtype=torch.long)
    pixels = torch.arange(2.0)[:, None, None]
    plain = {"input_ids": mask, "attention_mask": mask}

    def found(pictures: list[int], rows: int) -> EncodedPrompts | None:
        inputs = {**plain, "pixel_values": pixels[:1].expand(rows, 1, 1)}
        return rows_of(EncodedPrompts(inputs, mask, mask[:, 0], [None, None]), [1], pictures)

    assert found([0, 2], 2) is None
    assert found([1, 2], 7) is None
    assert found([1, 1], 2) is not None
    kept = found([1, 2], 3)
    assert kept is not None
    assert len(kept.inputs["pixel_values"]) == 2
