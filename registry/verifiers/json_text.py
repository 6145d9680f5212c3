"""JSON as models write it, read within bounds."""

from __future__ import annotations

import json
from typing import Any

MAX_CHARS = 100_000


class NotJson(ValueError):
    """The text is no JSON value, or one that no reader agrees on."""


def read_json(text: str) -> Any:
    """The JSON value that a text is, in a Markdown fence or not.

    >>> read_json('```json\\n{"a": [1, 2.5, null]}\\n```')
    {'a': [1, 2.5, None]}

    Raises:
        NotJson: anything else, and what JSON does not know or leaves open: NaN, infinity, a key twice in one object.
    """
    if len(text) > MAX_CHARS:
        raise NotJson(f"the text has {len(text)} characters")
    bare = text.strip()
    if bare.startswith("```") and bare.endswith("```") and len(bare) >= 6:
        bare = bare[3:-3]
        bare = bare[4:] if bare[:4].lower() == "json" else bare
    try:
        return json.loads(bare, object_pairs_hook=_no_key_twice, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from error


def same_json(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal: 1 is 1.0, but not true; the order of keys does not matter."""
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_json(value, b[key]) for key, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_json, a, b))
    return type(a) is type(b) and a == b if isinstance(a, str) or isinstance(b, str) else bool(a == b)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:20]} is too large")
    return value
