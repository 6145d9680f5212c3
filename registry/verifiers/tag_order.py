"""Do the parts stand in their tags, in order?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from registry import verifiers
from registry.example import Example
from registry.verifiers.base import Verifier

_NAME = re.compile(r"[A-Za-z][\w-]*")


@verifiers.register("tag_order")
class TagOrder(Verifier):
    """1 where the completion is its tags in the order given, each once and with something in it, otherwise 0.

    ``<a>...</a> <b>...</b>``, white space between them; for formats with more or other parts than `thinking_format`, such as
    ``<description>``, ``<think>``, ``<answer>``. A rule of the field's, of no single benchmark.

    >>> judge = TagOrder(["describe", "answer"])
    >>> example = Example(id="1", question="?", answer="4")
    >>> judge("<describe>four dots</describe> <answer>4</answer>", example), judge("<answer>4</answer>", example)
    (1.0, 0.0)

    Args:
        tags: names of the tags.
        outside: whether other text may stand before, between and behind them.

    Raises:
        ValueError: no tags, one twice, or something that is no name of a tag.
    """

    quick = True

    def __init__(self, tags: Sequence[str] = ("think", "answer"), outside: bool = False) -> None:
        if isinstance(tags, str) or not tags or len(set(tags)) < len(tags) or not all(map(_NAME.fullmatch, tags)):
            raise ValueError(f"verifiers.tag_order.tags must be a list of different names of tags; it is {tags!r}")
        self.tags = tuple(tags)
        self.outside = outside

    def __call__(self, completion: str, example: Example) -> float:
        end = 0
        for tag in self.tags:
            opening, closing = f"<{tag}>", f"</{tag}>"
            if completion.count(opening) != 1 or completion.count(closing) != 1:
                return 0.0
            start, stop = completion.find(opening), completion.find(closing)
            if start < end or not completion[start + len(opening) : stop].strip():
                return 0.0
            if not self.outside and completion[end:start].strip():
                return 0.0
            end = stop + len(closing)
        return float(self.outside or not completion[end:].strip())
