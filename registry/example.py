"""`Example`: one prompt with its reference, as every family sees it."""

from __future__ import annotations

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


class MalformedExample(ValueError):
    """A row that cannot become an example: a corrupt image, a missing column value. Skipped, counted and reported."""


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
    answer_in: AnswerPlaces = "tags"

    def without_images(self) -> Example:
        """The same example, cheap to send to another process."""
        return replace(self, images=())

    @property
    def supervised_target(self) -> str:
        """The completion that next-token prediction imitates."""
        return self.target if self.target is not None else write_answer(self.answer, self.answer_in)
