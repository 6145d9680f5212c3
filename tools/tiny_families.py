"""Checkpoints of other families, with tiny random weights, a character vocabulary and their own processors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf

from registry.backends.tiny_processor import character_tokenizer

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
}
MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
PARTIAL = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25, "mrope_section": [1, 1, 0]}
PICTURE = "<|image_pad|>"


def tokens(tokenizer: Any) -> dict[str, int]:
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def text_config(kind: str, **changed: Any) -> Callable[[Any], Any]:
    return lambda tokenizer: getattr(hf, f"{kind}Config")(**{**TEXT, **tokens(tokenizer), **changed})


MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LINEAR = {
    "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
WINDOW = 8  # tokens of a sliding window: shorter than the prompts
LAYERS = ["sliding_attention", "full_attention"] * 2
TEXT_FAMILIES: dict[str, Callable[[Any], Any]] = {
    "Llama": text_config("Llama"),
    "Qwen3": text_config("Qwen3"),
    "Qwen3-MoE": text_config("Qwen3Moe", **MOE),
    "Phi-3": text_config("Phi3"),
    "Gemma 3": text_config("Gemma3Text", sliding_window=WINDOW, layer_types=LAYERS),
    "Mistral": text_config("Mistral", sliding_window=WINDOW),
    "gpt-oss": text_config(
        "GptOss", num_local_experts=4, num_experts_per_tok=2, sliding_window=WINDOW, layer_types=LAYERS
    ),
    "Qwen3.5": text_config("Qwen3_5Text", rope_parameters=PARTIAL, **LINEAR),
    "LFM2": text_config("Lfm2", layer_types=["conv", "conv", "full_attention", "conv"]),
    "Granite": text_config("Granite", logits_scaling=8.0),
}
QWEN_VISION = {"depth": 2, "intermediate_size": 96, "num_heads": 4}


def qwen_config(kind: str, vision: dict[str, Any]) -> Callable[[Any], Any]:
    def config(tokenizer: Any) -> Any:
        token = tokenizer.convert_tokens_to_ids
        text = {**TEXT, **tokens(tokenizer), "rope_parameters": MROPE}
        return getattr(hf, f"{kind}Config")(
            text_config=text,
            vision_config={**QWEN_VISION, **vision},
            image_token_id=token(PICTURE),
            video_token_id=token("<|video_pad|>"),
            vision_start_token_id=token("<|vision_start|>"),
            vision_end_token_id=token("<|vision_end|>"),
        )

    return config


def siglip(image_size: int) -> dict[str, int]:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    return {**sizes, "image_size": image_size, "patch_size": 14}


def gemma3_config(tokenizer: Any) -> Any:
    token = tokenizer.convert_tokens_to_ids
    return hf.Gemma3Config(
        text_config={**TEXT, **tokens(tokenizer), "sliding_window": WINDOW, "layer_types": LAYERS},
        vision_config=siglip(56),
        mm_tokens_per_image=4,
        boi_token_index=token("<|vision_start|>"),
        eoi_token_index=token("<|vision_end|>"),
        image_token_id=token(PICTURE),
    )


def smolvlm_config(tokenizer: Any) -> Any:
    return hf.SmolVLMConfig(
        text_config={"model_type": "llama", **TEXT, **tokens(tokenizer)},
        vision_config=siglip(56),
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids(PICTURE),
        pad_token_id=tokenizer.pad_token_id,
    )


def onevision_config(tokenizer: Any) -> Any:
    token = tokenizer.convert_tokens_to_ids
    return hf.LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **TEXT, **tokens(tokenizer)},
        vision_config={"model_type": "siglip_vision_model", **siglip(56), "vision_use_head": False},
        vision_feature_layer=-1,
        image_token_id=token(PICTURE),
        video_token_id=token("<|video_pad|>"),
        image_grid_pinpoints=[[56, 56], [56, 112], [112, 56]],
    )


def llava_config(tokenizer: Any) -> Any:
    return hf.LlavaConfig(
        text_config={"model_type": "llama", **TEXT, **tokens(tokenizer)},
        vision_config={"model_type": "clip_vision_model", **siglip(56), "projection_dim": 32},
        image_token_id=tokenizer.convert_tokens_to_ids(PICTURE),
        image_seq_length=16,
    )


def internvl_config(tokenizer: Any) -> Any:
    vision = {**siglip(56), "image_size": [56, 56], "patch_size": [14, 14]}
    return hf.InternVLConfig(
        text_config={"model_type": "qwen2", **TEXT, **tokens(tokenizer)},
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids(PICTURE),
        image_seq_length=4,
    )


def qwen_processor(kind: str, patch: int) -> Callable[[Any], Any]:
    def processor(tokenizer: Any) -> Any:
        size = {"patch_size": patch, "min_pixels": 56 * 56, "max_pixels": 28 * 28 * 1280}
        pictures, videos = hf.Qwen2VLImageProcessor(**size), hf.Qwen2VLVideoProcessor()
        if kind == "Qwen3VL":
            videos = hf.Qwen3VLVideoProcessor()
        made = getattr(hf, f"{kind}Processor")(pictures, tokenizer, videos)
        made.chat_template = chat_template(f"<|vision_start|>{PICTURE}<|vision_end|>")
        return made

    return processor


def gemma3_processor(tokenizer: Any) -> Any:
    pictures = hf.Gemma3ImageProcessor(size={"height": 56, "width": 56})
    return hf.Gemma3Processor(pictures, tokenizer, chat_template("<|vision_start|>"), image_seq_length=4)


def smolvlm_processor(tokenizer: Any) -> Any:
    pictures = hf.SmolVLMImageProcessor(size={"longest_edge": 112}, max_image_size={"longest_edge": 56})
    template = chat_template(PICTURE)
    return hf.SmolVLMProcessor(pictures, tokenizer, hf.SmolVLMVideoProcessor(), 4, chat_template=template)


def onevision_processor(tokenizer: Any) -> Any:
    pictures = hf.LlavaOnevisionImageProcessor(
        size={"height": 56, "width": 56}, image_grid_pinpoints=[[56, 56], [56, 112], [112, 56]]
    )
    return hf.LlavaOnevisionProcessor(
        pictures,
        tokenizer,
        hf.LlavaOnevisionVideoProcessor(),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=chat_template(PICTURE),
        image_token=PICTURE,
        video_token="<|video_pad|>",
    )


def llava_processor(tokenizer: Any) -> Any:
    pictures = hf.CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    return hf.LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=chat_template(PICTURE),
        image_token=PICTURE,
        num_additional_image_tokens=1,
    )


def internvl_processor(tokenizer: Any) -> Any:
    pictures = hf.GotOcr2ImageProcessor(size={"height": 56, "width": 56}, crop_to_patches=True, max_patches=4)
    template = chat_template(PICTURE)
    return hf.InternVLProcessor(
        pictures, tokenizer, hf.InternVLVideoProcessor(), image_seq_length=4, chat_template=template
    )


def chat_template(picture: str) -> str:
    return (
        "{% for message in messages %}{{ '<|im_start|>' }}{% for part in message.content %}"
        "{% if part.type == 'image' %}{{ '" + picture + "' }}{% else %}{{ part.text }}{% endif %}"
        "{% endfor %}{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>' }}{% endif %}"
    )


QWEN2 = {"embed_dim": 32, "hidden_size": 64, "depth": 2, "num_heads": 4, "mlp_ratio": 2}
QWEN2_5 = {"hidden_size": 32, "out_hidden_size": 64, "fullatt_block_indexes": [1]}
QWEN3 = {"hidden_size": 32, "out_hidden_size": 64, "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 256}
VISION_FAMILIES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "Qwen2-VL": (qwen_config("Qwen2VL", QWEN2), qwen_processor("Qwen2VL", 14)),
    "Qwen2.5-VL": (qwen_config("Qwen2_5_VL", QWEN2_5), qwen_processor("Qwen2_5_VL", 14)),
    "Qwen3-VL": (qwen_config("Qwen3VL", QWEN3), qwen_processor("Qwen3VL", 16)),
    "Gemma 3 with pictures": (gemma3_config, gemma3_processor),
    "SmolVLM": (smolvlm_config, smolvlm_processor),
    "LLaVA": (llava_config, llava_processor),
    "InternVL": (internvl_config, internvl_processor),
    "LLaVA-OneVision": (onevision_config, onevision_processor),
}


def vision_tokenizer() -> Any:
    """The character tokenizer, with the names under which the families look for their special tokens."""
    plain = character_tokenizer()
    special = {"image_token": PICTURE, "boi_token": "<|vision_start|>", "eoi_token": "<|vision_end|>"}
    special |= {"video_token": "<|video_pad|>", "fake_image_token": "<|unk|>", "global_image_token": "<|vision_end|>"}
    special |= {"vision_bos_token": "<|vision_start|>", "vision_eos_token": "<|vision_end|>"}
    special |= {"start_image_token": "<|vision_start|>", "end_image_token": "<|vision_end|>"}
    special |= {"context_image_token": PICTURE}
    names = {"eos_token": plain.eos_token, "pad_token": plain.pad_token, "unk_token": plain.unk_token}
    backend = plain.backend_tokenizer
    return hf.PreTrainedTokenizerFast(tokenizer_object=backend, **names, extra_special_tokens=special)


def save_family(name: str, directory: Path) -> None:
    """Writes a checkpoint of a family of `TEXT_FAMILIES` or `VISION_FAMILIES`, weights from seed 0."""
    if name in VISION_FAMILIES:
        tokenizer = vision_tokenizer()
        make_config, make_processor = VISION_FAMILIES[name]
        config, auto = make_config(tokenizer), hf.AutoModelForImageTextToText
        make_processor(tokenizer).save_pretrained(directory)
    else:
        tokenizer = character_tokenizer()
        config, auto = TEXT_FAMILIES[name](tokenizer), hf.AutoModelForCausalLM
        tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    model = auto.from_config(config)
    for parameter in model.parameters():  # 0.02 of wide models would leave so narrow a one deaf to its prompt
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(directory)
