"""`Example`: one prompt with its reference, as every family sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from registry.answer_places import AnswerPlaces, write_answer

if TYPE_CHECKING:
    from PIL.Image import Image

BoxFrame = Literal["file", "processed", "fraction", "thousandths"]
"""The frame in which a box [x1, y1, x2, y2] is written:

file         pixels of the image file as published (RefCOCO, LISA test)
processed    pixels of the image after the processor resized it (what Qwen2.5-VL writes)
fraction     fractions of width and height, 0 to 1
thousandths  thousandths of width and height, 0 to 1000 (what Qwen2-VL and Qwen3-VL write)
"""

Size = tuple[int, int]
"""(width, height) in pixels."""


KIND_LENGTH = 60
PARTICULARS = r"'[^']*'|\"[^\"]*\"|\([^)]*\)|\[[^\]]*\]|\S*[/\\\\]\S*|\d[\d.,]*"
"""What a message says of one row: whatever is quoted or in brackets, paths, numbers."""


class MalformedExample(ValueError):
    """A row that cannot become an example: a corrupt image, a missing column value. Skipped, counted and reported.

    Args:
        message: names the row and the reason.
        kind: a few words by which such rows are counted; left out: those of the error that this one was raised from, else
            the message without its particulars.
    """

    def __init__(self, message: str, kind: str | None = None) -> None:
        super().__init__(message)
        self._kind = kind

    @property
    def kind(self) -> str:
        cause = self.__cause__
        if self._kind is None and isinstance(cause, MalformedExample):
            return cause.kind
        return kind_of(str(self)) if self._kind is None else self._kind


def kind_of(message: str) -> str:
    """A message without what it says of one row alone.

    >>> kind_of("image 'train/17.png' does not exist in /data/images")
    'image … does not exist in …'
    """
    return re.sub(PARTICULARS, "…", message)[:KIND_LENGTH]


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt with its reference.

    Attributes:
        id: stable and unique within its source, e.g. ``grounding/train/17``.
        question: the text that the prompt template wraps.
        answer: the reference, as text; a box as ``[x1, y1, x2, y2]``.
        images: pictures in the order in which the question refers to them.
        target: the completion to imitate in next-token prediction; None: the answer, where `answer_in` says.
        choices: texts of the options of a multiple-choice question, in the order A, B, C, ...
        box_frame: the frame of the box in `answer`; None where the answer is not a box.
        file_size: size of the first image as published.
        processed_size: size of the first image as the model sees it; filled in by the engine.
        answer_in: where the answer stands in a completion (`registry.answer_places`): one place, or several that are
            tried in order; filled in by the engine.
        metadata: anything else that a verifier may want; picklable.
        occurrence: how often its source gave it before; filled in by the source when it is drawn.
        where: how a message names its row, e.g. ``train.jsonl, line 18``; empty: by its id.
    """

    id: str
    question: str
    answer: str
    images: tuple[Image, ...] = ()
    target: str | None = None
    choices: tuple[str, ...] = ()
    box_frame: BoxFrame | None = None
    file_size: Size | None = None
    processed_size: Size | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    occurrence: int = 0
    answer_in: AnswerPlaces = "tags"
    where: str = ""

    def without_images(self) -> Example:
        """The same example, cheap to send to another process."""
        return replace(self, images=())

    @property
    def supervised_target(self) -> str:
        """The completion that next-token prediction imitates."""
        return self.target if self.target is not None else write_answer(self.answer, self.answer_in)
