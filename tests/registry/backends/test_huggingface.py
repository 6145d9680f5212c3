from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from registry.backends.huggingface import HuggingFace
from registry.backends.tiny_processor import character_tokenizer
from registry.replay.arithmetic import Arithmetic
from registry.replay.grounding import Grounding

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text-only checkpoint of another family, as a local directory."""
    directory = tmp_path_factory.mktemp("llama")
    tokenizer = character_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def test_a_causal_model_of_a_local_directory(llama: Path) -> None:
    loaded = HuggingFace(str(llama)).load()
    assert not loaded.sees_images
    example = Arithmetic().example(0)
    encoded = loaded.encode([example.question, "1"], [example, example], CPU)
    assert encoded.position_ids.shape == encoded.inputs["input_ids"].shape
    assert encoded.next_position.tolist() == encoded.attention_mask.sum(1).tolist()


def test_pictures_for_a_model_that_cannot_see(llama: Path) -> None:
    loaded = HuggingFace(str(llama)).load()
    with pytest.raises(ValueError, match="cannot see"):
        loaded.encode(["where?"], [Grounding().example(0)], CPU)


def test_a_directory_without_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no config\.json"):
        HuggingFace(str(tmp_path / "nothing")).check()


def test_a_hub_id_is_not_looked_for_on_disk() -> None:
    HuggingFace("Qwen/Qwen2.5-VL-3B-Instruct").check()


def test_an_unknown_dtype() -> None:
    with pytest.raises(ValueError, match="dtype"):
        HuggingFace("a/b", dtype="float8")
