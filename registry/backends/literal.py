"""Special tokens in the text of data, read as the characters that they are.

A chat template writes its special tokens as text, and so may a question: `<|im_end|>` in it would end the turn, `<|image_pad|>`
ask for a picture that does not exist. A text that holds one is therefore put into the template as a stand-in, one character
that a copy of the tokenizer knows as a token of its own; in the token ids, the stand-in gives way to the text's own tokens, in
which special ones are split (`split_special_tokens`). A processor need do no more than leave other characters alone.
(`sanitize_control_tokens` of newer transformers is for tokenizers and processors that know of it; and it takes `<think>` for
special where a template writes it.)
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from registry.chat import Message

FIRST_STAND_IN, LAST_STAND_IN = 0x100000, 0x10FFFD  # the characters of a private plane that nothing else uses
PER_TOKEN = {"input_ids": 0, "attention_mask": 1, "token_type_ids": 0, "mm_token_type_ids": 0}
"""What a processor gives for each token, and its value where there is text."""
INTERNAL = ("<|placeholder|>",)
"""What processors of older versions of transformers put for `<|image_pad|>` while they count."""


class LiteralText:
    """Finds texts that hold special tokens, and has them read as text.

    Args:
        processor: a tokenizer, or a processor with one.
        forbidden: ids of tokens that stand for pictures.
    """

    def __init__(self, processor: Any, forbidden: Sequence[int]) -> None:
        self.processor = processor
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.forbidden = forbidden
        self._reader: Any = None
        self._stand_ins: list[int] = []

    @cached_property
    def special(self) -> frozenset[str]:
        """Special tokens as text, those that the processor replaces included."""
        added = self.tokenizer.added_tokens_decoder.values()
        found = {token.content for token in added if token.special} | set(self.tokenizer.all_special_tokens)
        found |= set(self.tokenizer.convert_ids_to_tokens(list(self.forbidden)))
        if self.processor is not self.tokenizer:
            found |= {value for name, value in vars(self.processor).items() if name.endswith("_token")}
            found |= set(INTERNAL)
        return frozenset(str(token) for token in found if token)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        tokens = sorted(map(re.escape, self.special), key=len, reverse=True)
        return re.compile("|".join([*tokens, f"[{chr(FIRST_STAND_IN)}-{chr(LAST_STAND_IN)}]"]))

    @cached_property
    def _never_text(self) -> frozenset[int]:
        ids = self.tokenizer.convert_tokens_to_ids(sorted(self.special & set(self.tokenizer.get_vocab())))
        return frozenset(ids) - {self.tokenizer.unk_token_id}

    def is_in(self, text: str) -> bool:
        """Whether a text holds a special token."""
        return self._pattern.search(text) is not None

    def token_ids(self, text: str) -> list[int]:
        """The tokens of a text, special ones split.

        Raises:
            ValueError: the tokenizer cannot read one of them as text.
        """
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if wrong := self._never_text.intersection(ids):
            names = ", ".join(self.tokenizer.convert_ids_to_tokens(sorted(wrong)))
            raise ValueError(f"the tokenizer cannot read {names} as text")
        return ids

    def hide(self, messages: Sequence[Message], hidden: dict[str, str]) -> list[Message]:
        """The messages, with stand-ins for texts that hold special tokens; `hidden`, text -> stand-in, grows by them."""

        def standing(text: str) -> str:
            if not self.is_in(text):
                return text
            return hidden.setdefault(text, chr(FIRST_STAND_IN + len(hidden)))

        def part(of: Any) -> Any:
            return {**of, "text": standing(of["text"])} if "text" in of else of

        def content(of: Any) -> Any:
            return standing(of) if isinstance(of, str) else [part(one) for one in of]

        return [{**message, "content": content(message["content"])} for message in messages]

    def reader(self, hidden: Iterable[str]) -> Any:
        """The processor, or where something is hidden its copy whose tokenizer knows the stand-ins."""
        number = len(list(hidden))
        if not number:
            return self.processor
        if self._reader is None:
            self._reader = copy.deepcopy(self.processor)
        tokenizer = getattr(self._reader, "tokenizer", self._reader)
        new = [chr(FIRST_STAND_IN + k) for k in range(len(self._stand_ins), number)]
        if new:
            tokenizer.add_tokens(new, special_tokens=True)
            self._stand_ins += tokenizer.convert_tokens_to_ids(new)
        return self._reader

    def reveal(self, inputs: dict[str, Tensor], hidden: Iterable[str], pad_token_id: int) -> dict[str, Tensor]:
        """What the reader gave, padded on the left, with the hidden texts in the places of their stand-ins."""
        texts = {index: self.token_ids(text) for index, text in zip(self._stand_ins, hidden, strict=False)}
        if not texts:
            return inputs
        names = [name for name in PER_TOKEN if name in inputs]
        rows: list[dict[str, list[int]]] = []
        for p, real in enumerate(inputs["attention_mask"].bool()):
            row: dict[str, list[int]] = {name: [] for name in names}
            for values in zip(*(inputs[name][p, real].tolist() for name in names), strict=True):
                own = dict(zip(names, values, strict=True))
                text = texts.get(own["input_ids"])
                for name in names:
                    if text is None:
                        row[name].append(own[name])
                    else:
                        row[name] += text if name == "input_ids" else [PER_TOKEN[name]] * len(text)
            rows.append(row)
        length = max(len(row["input_ids"]) for row in rows)
        padding = {name: pad_token_id if name == "input_ids" else 0 for name in names}
        padded = {
            name: torch.tensor([[padding[name]] * (length - len(row[name])) + row[name] for row in rows])
            for name in names
        }
        return {**inputs, **padded}
