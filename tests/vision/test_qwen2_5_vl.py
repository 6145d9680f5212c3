"""A checkpoint as Qwen2.5-VL is published, through `@backends.huggingface()`: encoding, decoding and scoring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recap.data.encoding import Room, encode_prompts
from recap.data.prompts import Asking, Prompt
from recap.model.decoding import decode
from recap.model.scoring import Scorer, Scoring
from recap.model.token_scores import log_probabilities
from recap.sampling.rollout import roll_out
from registry.backends.base import LoadedModel
from registry.backends.huggingface import HuggingFace
from registry.example import Example

pytestmark = pytest.mark.vision
CPU = torch.device("cpu")
GROUP, LENGTH = 3, 8
SIZES: list[list[tuple[int, int]]] = [[(200, 120)], [], [(57, 90), (300, 64)], [(120, 120)]]


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> LoadedModel:
    return HuggingFace(str(checkpoint), dtype="float32").load()


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    """0, 1 and 2 pictures of different sizes."""
    random = np.random.default_rng(0)
    return [
        Example(
            id=f"{i}",
            question="What is left of it? <think>" + " So?" * i,
            answer="",
            images=tuple(Image.fromarray(random.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes),
        )
        for i, sizes in enumerate(SIZES)
    ]


def conversation(example: Example) -> list[dict[str, object]]:
    content: list[dict[str, object]] = [{"type": "image", "image": image} for image in example.images]
    return [{"role": "user", "content": [*content, {"type": "text", "text": example.question}]}]


def of_processor(loaded: LoadedModel, examples: list[Example]) -> dict[str, torch.Tensor]:
    """What `apply_chat_template` of the processor alone makes of the same prompts."""
    return dict(
        loaded.processor.apply_chat_template(
            [conversation(example) for example in examples],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "left"},
        )
    )


def test_it_is_the_real_processor_with_the_real_vocabulary(loaded: LoadedModel) -> None:
    assert type(loaded.processor).__name__ == "Qwen2_5_VLProcessor"
    assert len(loaded.tokenizer) == 151_665
    assert loaded.tokenizer.tokenize("<think>Hello world") == ["<th", "ink", ">Hello", "Ġworld"]
    assert {loaded.tokenizer.convert_ids_to_tokens(i) for i in loaded.forbidden_token_ids} == {
        "<|vision_start|>",
        "<|vision_end|>",
        "<|image_pad|>",
        "<|video_pad|>",
    }
    assert loaded.eos_token_ids == [151_643, 151_645]


def test_pictures_in_one_batch_are_encoded_as_the_processor_does(loaded: LoadedModel, examples: list[Example]) -> None:
    expected = of_processor(loaded, examples)
    encoded = loaded.encode([example.question for example in examples], examples, CPU)
    assert set(encoded.inputs) == {"input_ids", "attention_mask", "pixel_values", "image_grid_thw"}
    for name, tensor in encoded.inputs.items():
        assert torch.equal(tensor, expected[name]), name
    assert [size is None for size in encoded.processed_sizes] == [not sizes for sizes in SIZES]


def test_text_alone(loaded: LoadedModel, examples: list[Example]) -> None:
    encoded = loaded.encode([examples[1].question], [examples[1]], CPU)
    assert set(encoded.inputs) == {"input_ids", "attention_mask"}
    assert torch.equal(encoded.inputs["input_ids"], of_processor(loaded, [examples[1]])["input_ids"])


def test_max_pixels_of_the_paper(checkpoint: Path) -> None:
    limited = HuggingFace(str(checkpoint), dtype="float32", max_pixels=401_408).load()
    image = Image.new("RGB", (1920, 1080))
    encoded = limited.encode(["?"], [Example(id="", question="?", answer="", images=(image,))], CPU)
    (size,) = encoded.processed_sizes
    assert size is not None
    assert 370_000 < size[0] * size[1] <= 401_408


def test_greedy_decoding_is_that_of_generate(loaded: LoadedModel, examples: list[Example]) -> None:
    encoded = loaded.encode([example.question for example in examples], examples, CPU)
    found, _, _ = decode(loaded, encoded, 1, LENGTH, 1.0, None)
    inputs = of_processor(loaded, examples)
    expected = loaded.model.generate(
        **inputs, do_sample=False, max_new_tokens=LENGTH, suppress_tokens=loaded.forbidden_token_ids
    )[:, inputs["input_ids"].shape[1] :]
    assert torch.equal(found, expected)


@pytest.mark.parametrize("settings", [Scoring(), Scoring(reuse_prefill=False), Scoring(shared_prefix=False)], ids=str)
def test_log_probs_and_gradients_are_those_of_one_forward_per_completion(
    loaded: LoadedModel, examples: list[Example], settings: Scoring
) -> None:
    prompts = [Prompt(example, example.question) for example in examples]
    rollout = roll_out(
        loaded, prompts, group_size=GROUP, max_new_tokens=LENGTH, temperature=1.0, device=CPU,
        keep_prefix=settings.reuse_prefill,
    )  # fmt: skip
    expected = plain_log_probs(loaded, examples, rollout.completion_ids, rollout.completion_mask)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    expected_gradients = gradients(loaded, (weights * expected).sum())

    scorer = Scorer(loaded.model, loaded.forbidden_token_ids, settings)
    found = scorer(rollout.encoded, rollout.completion_ids, rollout.completion_mask, prefix=rollout.prefix).log_probs
    assert torch.allclose(found, expected, atol=2e-5)
    largest = max(float(gradient.abs().max()) for gradient in expected_gradients)
    for gradient, other in zip(gradients(loaded, (weights * found).sum()), expected_gradients, strict=True):
        assert torch.allclose(gradient, other, atol=2e-5 * max(1.0, largest))


def plain_log_probs(
    loaded: LoadedModel, examples: list[Example], ids: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """One forward per completion, on what the processor alone gives; positions are left to the model."""
    rows = []
    for row, (own, length) in enumerate(zip(ids, mask.sum(1).tolist(), strict=True)):
        inputs = of_processor(loaded, [examples[row // GROUP]])
        prompt = inputs["input_ids"]
        whole = torch.cat([prompt, own[None, :length]], dim=1)
        types = (whole == loaded.model.config.image_token_id).int()
        extended = {"input_ids": whole, "attention_mask": torch.ones_like(whole), "mm_token_type_ids": types}
        logits = loaded.model(**{**inputs, **extended}).logits[0, prompt.shape[1] - 1 : -1]
        log_probs = log_probabilities(logits, loaded.forbidden_token_ids, 1.0)
        log_probs = log_probs.gather(-1, own[:length, None])[:, 0]
        rows.append(torch.nn.functional.pad(log_probs, (0, ids.shape[1] - length)))
    return torch.stack(rows)


def gradients(loaded: LoadedModel, loss: torch.Tensor) -> list[torch.Tensor]:
    parameters = [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [
        torch.zeros_like(parameter) if gradient is None else gradient
        for parameter, gradient in zip(parameters, found, strict=True)
    ]


@pytest.mark.parametrize(
    "token", ["<|image_pad|>", "<|vision_start|><|image_pad|><|vision_end|>", "<|im_end|>", "<|placeholder|>"]
)
def test_special_tokens_in_a_question_are_text(loaded: LoadedModel, examples: list[Example], token: str) -> None:
    """Beside pictures and without, in a batch with others: those of the template stay what they are, and so do the others."""
    poisoned = [replace(example, question=f"What is {token}?") for example in examples]
    both = [*poisoned, *examples]
    encoded = loaded.encode([example.question for example in both], both, CPU)
    alone = loaded.encode([example.question for example in examples], examples, CPU)
    pad = loaded.model.config.image_token_id
    counts = (encoded.inputs["input_ids"] == pad).sum(1).tolist()
    assert counts[:4] == counts[4:] == (alone.inputs["input_ids"] == pad).sum(1).tolist()
    text = loaded.tokenizer(f"What is {token}?", add_special_tokens=False, split_special_tokens=True)["input_ids"]
    for row, example in enumerate(both):
        ids = encoded.inputs["input_ids"][row][encoded.attention_mask[row].bool()].tolist()
        if row >= 4:
            expected = alone.inputs["input_ids"][row - 4][alone.attention_mask[row - 4].bool()].tolist()
            assert ids == expected
            continue
        end = loaded.tokenizer("<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
        assert ids[-len(text) - len(end) :] == text + end
        assert loaded.tokenizer.decode(ids).count("<|im_start|>") == 3, example
    model = loaded.model.eval()
    with torch.no_grad():
        assert torch.isfinite(model(**encoded.inputs, position_ids=encoded.position_ids).logits).all()


def test_pictures_stand_where_their_markers_are(loaded: LoadedModel, examples: list[Example]) -> None:
    pictures = examples[2].images
    example = replace(examples[2], question="Is <image> like <image>?")
    encoded = loaded.encode([example.question], [example], CPU)
    content = [
        {"type": "text", "text": "Is "},
        {"type": "image", "image": pictures[0]},
        {"type": "text", "text": " like "},
        {"type": "image", "image": pictures[1]},
        {"type": "text", "text": "?"},
    ]
    expected = loaded.processor.apply_chat_template(
        [[{"role": "user", "content": content}]],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    assert torch.equal(encoded.inputs["input_ids"], expected["input_ids"])
    assert torch.equal(encoded.inputs["pixel_values"], expected["pixel_values"])


def test_what_the_processor_refuses_takes_nothing_with_it(loaded: LoadedModel, examples: list[Example]) -> None:
    thin = replace(examples[0], images=(Image.new("RGB", (900, 3)),))
    asking, prompts = Asking(), [Asking().ask(example) for example in (examples[0], thin, examples[2])]
    found = encode_prompts(loaded, [asking] * 3, prompts, [Room(loaded.context_length, 8)] * 3)
    assert found.places == [0, 2]
    assert "absolute aspect ratio must be smaller than 200" in str(found.refused[1])
