"""The contract of a model backend, and what it hands to the engine."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.backends.literal import LiteralText
from registry.chat import Chat, Message, without_template
from registry.example import Example, Size

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel


class CannotSee(ValueError):
    """Images for a model that cannot see: a domain that does not fit the model, not an example that does not."""


class Backend(ABC):
    """Loads a model and its processor; cheap to construct, so that `recap check` loads nothing."""

    @abstractmethod
    def load(self) -> LoadedModel:
        """Loads the weights.

        Raises:
            ValueError: the model cannot be had; the message says what to install, set or correct.
        """

    @property
    @abstractmethod
    def sees_images(self) -> bool | None:
        """Whether prompts may hold images; None where only the checkpoint can tell."""

    @property
    def weights_dtype(self) -> str | None:
        """The precision that `load` gives the weights in, e.g. 'float32'; None where only the checkpoint can tell."""
        return None

    def configuration(self) -> PretrainedConfig | None:
        """The model's configuration of transformers; None where it is not on this machine. `recap check` estimates memory
        from it.
        """
        return None

    def tokenizer(self) -> Any:
        """The model's tokenizer; None where it is not on this machine. `recap check` finds with it what cannot be written."""
        return None

    def weights_files(self) -> list[Path]:
        """The files on this machine that the weights are read from; none where they are fresh, or of the Hub, where an id and
        a revision say which they are.
        """
        return []

    def at_hand(self) -> bool | None:
        """Whether the weights are on this machine, so that `load` downloads nothing; None where the backend cannot say."""
        return None

    def check(self) -> None:
        """Raises ValueError for what can be found wrong without loading the weights, e.g. a missing directory."""


def weights_in(directory: Path) -> list[Path]:
    """The files of weights in a directory of transformers, and its configuration."""
    endings = (".safetensors", ".bin", ".gguf", "config.json")
    return sorted(file for file in directory.iterdir() if file.name.endswith(endings))


@dataclass(frozen=True)
class EncodedPrompts:
    """P prompts as tensors, padded on the left.

    Attributes:
        inputs: keyword arguments of the model's forward: ``input_ids`` and ``attention_mask`` [P, L], and whatever its
            vision tower takes.
        position_ids: [P, L], or [3, P, L] for models with multimodal rotary positions.
        next_position: [P], the position of each prompt's first completion token.
        processed_sizes: (width, height) of the first image of each prompt as the model sees it; None without an image.
    """

    inputs: dict[str, Tensor]
    position_ids: Tensor
    next_position: Tensor
    processed_sizes: list[Size | None]

    @property
    def attention_mask(self) -> Tensor:
        return self.inputs["attention_mask"]

    def __len__(self) -> int:
        return int(self.attention_mask.shape[0])

    def to(self, device: torch.device) -> EncodedPrompts:
        """The same on another device."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return replace(
            self,
            inputs=inputs,
            position_ids=self.position_ids.to(device),
            next_position=self.next_position.to(device),
        )


def tiled(prompts: EncodedPrompts, copies: int) -> EncodedPrompts:
    """The prompts, all of them once more for each copy: [copies * P, L].

    Whatever a vision tower takes is a row per prompt, picture or patch in the order of the prompts, so that it is
    repeated as a whole.
    """
    inputs = {name: tensor.repeat(copies, *[1] * (tensor.dim() - 1)) for name, tensor in prompts.inputs.items()}
    positions = prompts.position_ids.repeat(*[1] * (prompts.position_ids.dim() - 2), copies, 1)
    return EncodedPrompts(inputs, positions, prompts.next_position.repeat(copies), prompts.processed_sizes * copies)


@dataclass
class LoadedModel:
    """A model with the few things that the engine must know of it; nothing else asks for the model's family.

    Attributes:
        model: any causal or image-text-to-text model of transformers.
        processor: its tokenizer, or its processor where it sees images.
        forbidden_token_ids: never sampled and given no probability: placeholders of images and videos, which would ask
            the next forward for pictures that do not exist.
        description: what was loaded, for the log.
        max_pixels: that pictures are shrunk to; None: the processor's own limit.
    """

    model: PreTrainedModel
    processor: Any
    description: str
    forbidden_token_ids: list[int] = field(default_factory=list)
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        from registry.backends.patches import multiply_patches

        multiply_patches(self.model)
        names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
        found = [getattr(self.model.config, name, None) for name in names]
        self.forbidden_token_ids = sorted({*self.forbidden_token_ids, *(index for index in found if index is not None)})
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        ends = {self.tokenizer.eos_token_id}
        generation_config = getattr(self.model, "generation_config", None)
        configured = getattr(generation_config, "eos_token_id", None)
        configured = configured if isinstance(configured, list) else [configured]
        self.eos_token_ids: list[int] = sorted({*ends, *configured} - {None})
        self.literal = LiteralText(self.processor, self.forbidden_token_ids)
        self._reading = threading.RLock()  # a fast tokenizer keeps its settings in itself

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_reading"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _reading=threading.RLock())

    @property
    def tokenizer(self) -> Any:
        return getattr(self.processor, "tokenizer", self.processor)

    @property
    def sees_images(self) -> bool:
        return hasattr(self.processor, "image_processor")

    @property
    def pad_token_id(self) -> int:
        return int(self.tokenizer.pad_token_id)

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and completion that the model was made for; None where its configuration does not say."""
        length = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return None if length is None else int(length)

    def chat(self, prompt: str | Chat, num_images: int) -> str:
        """The prompt in the model's chat format, up to where the completion starts.

        Pictures stand in the places of the text's ``<image>`` markers where it has as many, else before it.
        """
        chat = prompt if isinstance(prompt, Chat) else Chat(prompt)
        return self._written(chat, self._messages(chat, num_images))

    def encode(
        self, prompts: Sequence[str | Chat], examples: Sequence[Example], device: torch.device
    ) -> EncodedPrompts:
        """Prompts and the images of their examples as tensors on `device`; may be called from several threads.

        Special tokens in texts are read as the characters that they are; those of the chat template stay special.

        Args:
            prompts: what is asked of each example; a text alone is the user's turn.

        Raises:
            CannotSee: images for a model that cannot see.
            Exception: whatever tokenizer, template or image processor raise at what they cannot read.
        """
        if any(example.images for example in examples) and not self.sees_images:
            named = next(example.id for example in examples if example.images)
            raise CannotSee(
                f"{self.description} cannot see, but example {named!r} has images; drop the domain or take a"
                " vision-language model"
            )
        with self._reading:
            inputs = {name: value.to(device) for name, value in self._read(prompts, examples).items()}
        sizes = iter(self._processed_sizes(inputs))
        processed_sizes: list[Size | None] = []
        for example in examples:
            own = [next(sizes, None) for _ in example.images]
            processed_sizes.append(own[0] if own else None)
        positions, following = self._positions(inputs)
        inputs.pop("mm_token_type_ids", None)  # only needed for the positions
        return EncodedPrompts(inputs, positions, following, processed_sizes)

    def _read(self, prompts: Sequence[str | Chat], examples: Sequence[Example]) -> dict[str, Tensor]:
        """What the processor makes of prompts and pictures."""
        texts: list[str] = []
        hidden: dict[str, str] = {}
        for prompt, example in zip(prompts, examples, strict=True):
            chat = prompt if isinstance(prompt, Chat) else Chat(prompt)
            messages = self._messages(chat, len(example.images))
            texts.append(self._written(chat, self.literal.hide(messages, hidden)))
        arguments: dict[str, Any] = {"text": texts, "padding": True, "padding_side": "left", "return_tensors": "pt"}
        if any(example.images for example in examples):
            # One list per prompt: in a flat one, several families could not tell whose pictures they are.
            arguments["images"] = [list(example.images) for example in examples]
        if self._has_template:
            arguments["add_special_tokens"] = False  # the chat template has written them
        inputs = dict(self.literal.reader(hidden)(**arguments).items())
        return self.literal.reveal(inputs, hidden, self.pad_token_id)

    @property
    def _has_template(self) -> bool:
        return bool(getattr(self.processor, "chat_template", None))

    def _messages(self, chat: Chat, num_images: int) -> list[Message]:
        return chat.messages([{"type": "image"}] * num_images, in_parts=self.sees_images and self._has_template)

    def _written(self, chat: Chat, messages: Sequence[Message]) -> str:
        if not self._has_template:
            return without_template(messages)
        settings = {**chat.arguments, "tokenize": False, "add_generation_prompt": True}
        return str(self.processor.apply_chat_template(list(messages), **settings))

    def encode_completions(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of completions to imitate, ended by the model's end token; special tokens in them are text.

        Raises:
            ValueError: a special token that the tokenizer cannot read as text.
        """
        with self._reading:
            plain = [text for text in texts if not self.literal.is_in(text)]
            encoded = iter(self.tokenizer(plain, add_special_tokens=False)["input_ids"] if plain else [])
            found = [self.literal.token_ids(text) if self.literal.is_in(text) else next(encoded) for text in texts]
        return [[*ids, self.tokenizer.eos_token_id] for ids in found]

    def without_start(self, text: str, tokens: int) -> str:
        """A text without its first tokens, at least one of them."""
        settings = {"add_special_tokens": False, "split_special_tokens": True}
        with self._reading:
            if not self.tokenizer.is_fast:  # does not say where its tokens stand: as if all were equally long
                number = len(self.tokenizer(text, **settings)["input_ids"])
                return text[max(1, -(-len(text) * tokens // max(1, number))) :]
            ends = [end for _, end in self.tokenizer(text, **settings, return_offsets_mapping=True)["offset_mapping"]]
        return text[max(1, ends[tokens - 1]) :] if 0 < tokens < len(ends) else ""

    def decode(self, token_ids: Sequence[Sequence[int]]) -> list[str]:
        """Texts of completions, without special tokens."""
        return list(self.tokenizer.batch_decode(token_ids, skip_special_tokens=True))

    def _processed_sizes(self, inputs: dict[str, Tensor]) -> list[Size]:
        if "image_grid_thw" not in inputs:
            return []
        patch = self.model.config.vision_config.patch_size
        return [(int(width) * patch, int(height) * patch) for _, height, width in inputs["image_grid_thw"].tolist()]

    def _positions(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Position ids of the prompts, and the position at which each completion starts."""
        mask = inputs["attention_mask"]
        multimodal_rope = getattr(self.model.base_model, "get_rope_index", None)
        if multimodal_rope is None or "image_grid_thw" not in inputs:
            positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
            return positions, positions[:, -1] + 1
        types = inputs.get("mm_token_type_ids")
        if types is None:
            types = (inputs["input_ids"] == self.model.config.image_token_id).int()
        positions, _ = multimodal_rope(
            inputs["input_ids"],
            mm_token_type_ids=types,
            image_grid_thw=inputs["image_grid_thw"],
            attention_mask=mask,
        )
        return positions, positions.amax(dim=(0, 2)) + 1
