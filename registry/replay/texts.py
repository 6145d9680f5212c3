"""Values of a table -> text."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from registry.example import MalformedExample


def is_blank(value: Any) -> bool:
    """Whether a table holds nothing here, as Arrow and JSON (null, ""), pandas (nan) and MMBench (the text ``nan``) write it.

    >>> [is_blank(value) for value in (None, float("nan"), " ", "nan", 0, "0", [])]
    [True, True, True, True, False, False, False]
    """
    if isinstance(value, str):
        return value.strip() in ("", "nan")
    return value is None or (isinstance(value, float | np.floating) and math.isnan(value))


def text(value: Any, field: str) -> str:
    """A non-empty text, without the space around it. Raises: MalformedExample."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise MalformedExample(f"{field} is missing")
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        raise MalformedExample(f"{field} is of type {type(value).__name__}, not text")
    if not value.strip():
        raise MalformedExample(f"{field} is empty")
    return value.strip()


def key_of(value: Any, number: str) -> str:
    """What tells a row from the others of its table: its id; its number where it has none that is text or a number.

    >>> key_of("a7", "3"), key_of(None, "3"), key_of({"$oid": "5f"}, "3")
    ('a7', '3', '3')
    """
    return text(value, "id") if isinstance(value, str | int | float | np.generic) and not is_blank(value) else number
