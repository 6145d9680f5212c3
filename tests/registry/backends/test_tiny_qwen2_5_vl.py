from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Qwen2_5_VLForConditionalGeneration

from registry.backends.base import LoadedModel
from registry.backends.tiny_processor import CHARACTERS, SPECIAL, TAGS, TinyProcessor, character_tokenizer
from registry.backends.tiny_qwen2_5_vl import SHIPPED_WEIGHTS, TinyQwen2_5_VL
from registry.replay.arithmetic import Arithmetic
from registry.replay.comparing import Comparing
from registry.replay.copying import Copying
from registry.replay.counting import Counting
from registry.replay.grounding import Grounding
from registry.replay.naming import Naming
from registry.replay.reading import Reading
from registry.replay.subtraction import Subtraction

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shipped() -> LoadedModel:
    return TinyQwen2_5_VL().load()


def test_it_is_the_real_architecture(shipped: LoadedModel) -> None:
    assert type(shipped.model) is Qwen2_5_VLForConditionalGeneration
    assert 1e6 < sum(p.numel() for p in shipped.model.parameters()) < 5e6


def test_the_shipped_weights_come_with_recipe_and_scores() -> None:
    facts = json.loads((SHIPPED_WEIGHTS / "measured.json").read_text())
    assert facts["recipes"] == ["experiments/pretrain_tiny.gin", "experiments/pretrain_tiny_mixed.gin"]
    trained = {"grounding", "reading", "counting", "arithmetic"}
    assert set(facts["held_out_scores"]) == trained | {"naming", "comparing", "copying", "subtraction"}


def test_fresh_weights_depend_on_the_seed_and_leave_the_global_one_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (TinyQwen2_5_VL("random", seed).load().model.state_dict() for seed in (0, 0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    name = "model.visual.patch_embed.proj.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


@given(st.text(alphabet=CHARACTERS, max_size=60), st.sampled_from(TAGS))
def test_tokenizer_round_trip(text: str, tag: str) -> None:
    tokenizer = TOKENIZER
    ids = tokenizer(text + tag + text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text + tag + text
    assert ids.count(tokenizer.convert_tokens_to_ids(tag)) >= 1


TOKENIZER = character_tokenizer()


@pytest.mark.parametrize("source", [Grounding, Reading, Counting, Arithmetic, Naming, Comparing, Copying, Subtraction])
def test_the_vocabulary_covers_the_built_in_domains(source: type) -> None:
    unknown = TOKENIZER.unk_token_id
    for position in range(50):
        example = source().example(position)
        assert unknown not in TOKENIZER(example.question)["input_ids"]
        assert unknown not in TOKENIZER(example.supervised_target)["input_ids"]


def test_a_picture_is_nine_tokens_and_positions_are_those_of_the_model(shipped: LoadedModel) -> None:
    examples = [Grounding().example(0), Arithmetic().example(0)]
    encoded = shipped.encode([e.question for e in examples], examples, CPU)
    assert (encoded.inputs["input_ids"] == shipped.model.config.image_token_id).sum(1).tolist() == [9, 0]
    assert encoded.processed_sizes == [(84, 84), None]
    assert encoded.position_ids.shape == (3, *encoded.inputs["input_ids"].shape)
    # A 3 x 3 picture takes 9 tokens but moves the position on by 3.
    lengths = encoded.attention_mask.sum(1)
    assert encoded.next_position.tolist() == [int(lengths[0]) - 6, int(lengths[1])]


def test_forbidden_tokens_are_those_of_vision(shipped: LoadedModel) -> None:
    names = {shipped.tokenizer.convert_ids_to_tokens(i) for i in shipped.forbidden_token_ids}
    assert names == {"<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"}
    assert names < set(SPECIAL)


def test_placeholders_and_pictures_must_match() -> None:
    processor = TinyProcessor.create(84)
    with pytest.raises(ValueError, match="1 image placeholders in the prompts for 0 images"):
        processor(text=["<|image_pad|>"], padding=True)


def test_a_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make tiny-model"):
        TinyQwen2_5_VL(str(tmp_path)).check()
