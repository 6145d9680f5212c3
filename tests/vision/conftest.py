"""A tiny-width Qwen2.5-VL with the real vocabulary, special tokens, chat template and processor, saved as a checkpoint."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

VOCABULARY = Path(os.environ.get("RECAP_QWEN_VOCABULARY", ".venv-vision/qwen")).absolute()
FIRST_OF_QWEN3 = 151_665  # tokens that Qwen3 added to Qwen2.5's vocabulary: <tool_response>, <think> and their ends
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Of Qwen2.5-VL, without its numbering of pictures, which nothing here asks for."""


def write_tokenizer(directory: Path) -> None:
    """Qwen2.5-VL's tokenizer from Qwen3's."""
    tokenizer = json.loads((VOCABULARY / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["id"] < FIRST_OF_QWEN3]
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = json.loads((VOCABULARY / "tokenizer_config.json").read_text())
    added = settings["added_tokens_decoder"]
    settings["added_tokens_decoder"] = {id: token for id, token in added.items() if int(id) < FIRST_OF_QWEN3}
    settings["chat_template"] = CHAT_TEMPLATE
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the checkpoint; its weights are random."""
    pytest.importorskip("torchvision", reason="make test-vision")
    if not (VOCABULARY / "tokenizer.json").is_file():
        pytest.skip(f"no vocabulary in {VOCABULARY}: make test-vision")
    import torch
    import transformers as hf

    directory = tmp_path_factory.mktemp("qwen2_5_vl")
    write_tokenizer(directory)
    tokenizer = hf.AutoTokenizer.from_pretrained(directory)
    config = hf.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 151_936,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
            "bos_token_id": 151_643,
            "eos_token_id": 151_645,
            "pad_token_id": 151_643,
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 4,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
        },
        image_token_id=151_655,
        video_token_id=151_656,
        vision_start_token_id=151_652,
        vision_end_token_id=151_653,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = hf.Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = hf.GenerationConfig(eos_token_id=[151_645, 151_643], pad_token_id=151_643)
    model.save_pretrained(directory)
    pictures = hf.Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=28 * 28 * 16_384)
    hf.Qwen2_5_VLProcessor(
        pictures, tokenizer, hf.Qwen2VLVideoProcessor(), chat_template=CHAT_TEMPLATE
    ).save_pretrained(directory)
    return directory
