"""The built-in tiny Qwen2.5-VL: the real architecture, small enough to train on a laptop's CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from registry import model_backends
from registry.backends.base import Backend, LoadedModel, weights_in

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

SHIPPED_WEIGHTS = Path(__file__).parent / "tiny_qwen2_5_vl_weights"
ROPE_THETA = (
    10.0  # rows and columns of a 3 x 3 picture are 1 position apart: at 10,000 a column would turn keys by 0.003 rad
)
INITIALIZER_RANGE = 0.08  # about 1 / sqrt(width): at the 0.02 of wide models, sight takes thousands of steps to come
IMAGE_SIDE = 84  # pixels: 6 x 6 patches, merged to 3 x 3 = 9 tokens


@model_backends.register("tiny_qwen2_5_vl")
class TinyQwen2_5_VL(Backend):
    """Built-in tiny Qwen2.5-VL (1.4 M parameters, 84 px, character vocabulary), pretrained on the built-in domains.

    A real `Qwen2_5_VLForConditionalGeneration` with its windowed vision tower and multimodal rotary positions, 4 layers of
    128 over a vision tower of 3 x 96. The shipped weights come from `experiments/pretrain_tiny.gin` (`make tiny-model`).

    Args:
        weights: a directory written by `save_pretrained`; None: the shipped one; 'random': fresh weights.
        seed: of the fresh weights.
    """

    max_pixels = IMAGE_SIDE**2  # every picture is made this large

    def __init__(self, weights: str | None = None, seed: int = 0) -> None:
        self.weights = weights
        self.seed = seed

    @property
    def sees_images(self) -> bool:
        return True

    def check(self) -> None:
        directory = self._directory()
        if directory is not None and not (directory / "config.json").is_file():
            raise ValueError(
                f"backends.tiny_qwen2_5_vl.weights: no model in {str(directory)!r} (no config.json);"
                " make it with 'make tiny-model', or set weights = 'random'"
            )

    def configuration(self) -> PretrainedConfig | None:
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(
            str(self._directory() or SHIPPED_WEIGHTS)
        )  # fresh weights: of the same shapes

    def tokenizer(self) -> PreTrainedTokenizerFast:
        from registry.backends.tiny_processor import character_tokenizer

        return character_tokenizer()

    def weights_files(self) -> list[Path]:
        directory = self._directory()
        return [] if directory is None else weights_in(directory)

    def load(self) -> LoadedModel:
        from registry.backends.tiny_processor import TinyProcessor

        self.check()
        directory = self._directory()
        if directory is None:
            processor = TinyProcessor.create(IMAGE_SIDE)
            return LoadedModel(
                fresh_model(processor, self.seed), processor, f"tiny Qwen2.5-VL, random (seed {self.seed})"
            )
        from transformers import Qwen2_5_VLForConditionalGeneration

        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(str(directory), dtype="float32")
        name = "shipped weights" if self.weights is None else str(directory)
        return LoadedModel(model, TinyProcessor.from_pretrained(directory), f"tiny Qwen2.5-VL, {name}")

    def _directory(self) -> Path | None:
        if self.weights == "random":
            return None
        return SHIPPED_WEIGHTS if self.weights is None else Path(self.weights)


def fresh_model(processor: object, seed: int) -> Qwen2_5_VLForConditionalGeneration:
    """Randomly initialised weights for the vocabulary of a `TinyProcessor`."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from registry.backends.tiny_processor import END, IMAGE, PAD, VIDEO, VISION_END, VISION_START, TinyProcessor

    assert isinstance(processor, TinyProcessor)
    token_id = processor.tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(processor.tokenizer),
            "hidden_size": 128,
            "initializer_range": INITIALIZER_RANGE,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
            "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA, "mrope_section": [4, 6, 6]},
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": token_id(END),
            "pad_token_id": token_id(PAD),
        },
        vision_config={
            "depth": 3,
            "initializer_range": INITIALIZER_RANGE,
            "hidden_size": 96,
            "intermediate_size": 192,
            "num_heads": 4,
            "out_hidden_size": 128,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": [2],
        },
        image_token_id=token_id(IMAGE),
        video_token_id=token_id(VIDEO),
        vision_start_token_id=token_id(VISION_START),
        vision_end_token_id=token_id(VISION_END),
        tie_word_embeddings=True,
    )
    config.initializer_range = INITIALIZER_RANGE
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    torch.random.set_rng_state(generator_state)
    model.generation_config.eos_token_id = token_id(END)
    model.generation_config.pad_token_id = token_id(PAD)
    return model
