"""`Chat`: what a model is asked, as the messages of a chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

IMAGE_MARKER = "<image>"
"""In a text: the place of a picture, where there are as many of them as pictures."""

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Chat:
    """A question, and what stands before it.

    Attributes:
        text: the user's turn, which the model answers.
        system: the system prompt; None: what the chat template writes of itself.
        shots: turns before it, each a user's text and the completion that answers it.
        arguments: more arguments of the chat template, e.g. ``{'enable_thinking': False}``.
    """

    text: str
    system: str | None = None
    shots: tuple[tuple[str, str], ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def texts(self) -> list[str]:
        """All of them, whoever says them."""
        system = [] if self.system is None else [self.system]
        return [*system, *(text for shot in self.shots for text in shot), self.text]

    def messages(self, pictures: Sequence[Mapping[str, Any]], in_parts: bool) -> list[Message]:
        """The turns as a chat template takes them.

        Args:
            pictures: a part of a message for each picture of the question, in order.
            in_parts: whether the content of a message is a list of parts, as models that see want it, or a text.
        """

        def content(text: str) -> Any:
            return [{"type": "text", "text": text}] if in_parts else text

        messages = [] if self.system is None else [{"role": "system", "content": content(self.system)}]
        for question, completion in self.shots:
            messages.append({"role": "user", "content": content(question)})
            messages.append({"role": "assistant", "content": content(completion)})
        asked = with_pictures(self.text, pictures) if in_parts else self.text
        return [*messages, {"role": "user", "content": asked}]


def with_pictures(text: str, pictures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The parts of a message: pictures in the places of their markers, or else all of them before the text as it is."""
    pieces = text.split(IMAGE_MARKER)
    if not pictures or len(pieces) != len(pictures) + 1:
        return [*pictures, {"type": "text", "text": text}]
    parts: list[Mapping[str, Any]] = []
    for piece, picture in zip(pieces, [*pictures, None], strict=True):
        if piece:
            parts.append({"type": "text", "text": piece})
        if picture is not None:
            parts.append(picture)
    return parts


def without_template(messages: Sequence[Message]) -> str:
    """What a model without a chat format reads: a blank line between examples, a completion right behind its question."""
    text = ""
    for message in messages:
        separated = text and message["role"] == "user"
        text += ("\n\n" if separated else "") + message["content"]
    return text
