"""Character tokenizer and processor of the built-in tiny Qwen2.5-VL.

The stock `Qwen2_5_VLProcessor` needs torchvision; this one pairs the torchvision-free image processor with a character
tokenizer and is called in the same way.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL.Image import Image
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import BatchFeature, PreTrainedTokenizerFast, Qwen2VLImageProcessorPil

IMAGE, VIDEO = "<|image_pad|>", "<|video_pad|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
TURN, END, PAD, UNKNOWN = "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|unk|>"
SPECIAL = (PAD, UNKNOWN, TURN, END, VISION_START, VISION_END, IMAGE, VIDEO)
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
MARKER = "tiny_processor.json"
CHARACTERS = string.ascii_lowercase + string.digits + " +-*/=?.,:;!'()[]<>\n"

# Qwen's chat format without the words for the roles: a character costs as much as a word costs a big model.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' }}"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>' }}{% endif %}"
)


def character_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character; the four tags of the answer format are one token each."""
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *TAGS, *CHARACTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


class TinyProcessor:
    """Character tokenizer and torchvision-free image processor, called like `Qwen2_5_VLProcessor`."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, image_processor: Qwen2VLImageProcessorPil) -> None:
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.chat_template = tokenizer.chat_template

    @classmethod
    def create(cls, image_side: int) -> TinyProcessor:
        """A processor that brings every image to about `image_side` pixels a side, keeping its aspect."""
        pixels = image_side * image_side
        return cls(character_tokenizer(), Qwen2VLImageProcessorPil(min_pixels=pixels, max_pixels=pixels))

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> TinyProcessor:
        return cls(
            PreTrainedTokenizerFast.from_pretrained(str(directory)),
            Qwen2VLImageProcessorPil.from_pretrained(str(directory)),
        )

    @staticmethod
    def wrote(directory: str | Path) -> bool:
        """Whether a directory holds a processor of this class."""
        return (Path(directory) / MARKER).is_file()

    def save_pretrained(self, directory: str | Path) -> None:
        (Path(directory) / MARKER).write_text('{"processor_class": "TinyProcessor"}\n')
        self.tokenizer.save_pretrained(str(directory))
        self.image_processor.save_pretrained(str(directory))

    def apply_chat_template(self, messages: Any, **kwargs: Any) -> str:
        return str(self.tokenizer.apply_chat_template(messages, **kwargs))

    def __call__(
        self, text: Sequence[str], images: Sequence[Image | Sequence[Image]] | None = None, **kwargs: Any
    ) -> BatchFeature:
        """Replaces each image placeholder by one token per merged patch of its image, then tokenizes.

        Args:
            text: prompts.
            images: one list per prompt, or all of them in one.

        Raises:
            ValueError: as many placeholders as images are needed.
        """
        text = list(text)
        images = [image for own in images or () for image in ([own] if isinstance(own, Image) else own)]
        data: dict[str, Any] = {}
        placeholders = sum(part.count(IMAGE) for part in text)
        if placeholders != len(images):
            raise ValueError(f"{placeholders} image placeholders in the prompts for {len(images)} images")
        if images:
            data = dict(self.image_processor(images=images, return_tensors="pt"))
            lengths = iter((data["image_grid_thw"].prod(-1) // self.image_processor.merge_size**2).tolist())
            for index, part in enumerate(text):
                pieces = part.split(IMAGE)
                text[index] = pieces[0] + "".join(IMAGE * next(lengths) + piece for piece in pieces[1:])
        data |= dict(self.tokenizer(text, return_token_type_ids=False, **kwargs))
        return BatchFeature(data)
