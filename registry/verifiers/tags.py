"""Reads `<think>` and `<answer>` tags by searching for fixed strings: linear time, whatever a model babbles."""

from __future__ import annotations

import re

from registry.answer_places import ANSWER, END_ANSWER

THINK, END_THINK = "<think>", "</think>"

_THOUGHT_TO_ANSWER = re.compile(rf"{END_THINK}\s*{ANSWER}")


def is_thought_and_answer(completion: str, strict: bool = True) -> bool:
    """Whether the whole completion, outer white space aside, is `<think>...</think> <answer>...</answer>`.

    Args:
        strict: each tag exactly once; otherwise the same tags may also stand inside.
    """
    text = completion.strip()
    if not (text.startswith(THINK) and text.endswith(END_ANSWER)):
        return False
    if strict and not _once(text, THINK, END_THINK, ANSWER, END_ANSWER):
        return False
    return _THOUGHT_TO_ANSWER.search(text, len(THINK), len(text) - len(END_ANSWER)) is not None


def _once(text: str, *tags: str) -> bool:
    return all(text.count(tag) == 1 for tag in tags)
