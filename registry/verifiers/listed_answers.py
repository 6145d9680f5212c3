"""The answers that count as right: one, or as many as the data set lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.example import Example


def listed_answers(example: Example) -> tuple[str, ...]:
    """Those of ``metadata['answers']`` where the row has them, else `example.answer` alone.

    Understands a list of texts, VQAv2's list of ``{'answer': ...}`` and SQuAD's ``{'text': [...]}``.

    >>> listed_answers(Example(id="1", question="?", answer="two"))
    ('two',)
    >>> listed_answers(Example(id="1", question="?", answer="two", metadata={"answers": {"text": ["two", "2"]}}))
    ('two', '2')

    Raises:
        ValueError: no answer, or something that is no text: a mistake in the data.
    """
    listed: Any = example.metadata.get("answers")
    if isinstance(listed, Mapping):
        listed = listed.get("text")
    if listed is None:
        listed = [example.answer]
    elif isinstance(listed, str):
        listed = [listed]
    answers = [item.get("answer") if isinstance(item, Mapping) else item for item in listed]
    texts = tuple(answer for answer in answers if isinstance(answer, str))
    if len(texts) < len(answers) or not any(map(str.strip, texts)):
        raise ValueError(f"example {example.id!r} has no reference answer that is text: {str(answers)[:80]}")
    return texts
