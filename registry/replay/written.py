"""What `datasets` stores otherwise than it was written -> as it was written.

Json            '"two"'                  -> 'two'     a column of texts, lists and numbers is stored as texts of JSON
ClassLabel      1                        -> 'dog'     the name that the number stands for; -1: none
float16, 32     0.10000000149011612      -> 0.1       the shortest decimal that is the same number

Also within lists and mappings. Pictures stay as they are stored: a corrupt one spoils its row, not the run.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Reader = Callable[[Any], Any]

SHORT: dict[str, type[np.floating[Any]]] = {"float16": np.float16, "float32": np.float32}


class ClassName(str):
    """The name of a class, and the number that a table holds for it: among choices that of one, from 0."""

    number: int


def readers_of(features: Mapping[str, Any] | None) -> dict[str, Reader]:
    """Column -> what reads a value of it, for the columns that are stored otherwise; {} where no types are known."""
    readers = {column: _reader(feature) for column, feature in (features or {}).items()}
    return {column: read for column, read in readers.items() if read is not None}


def as_written(values: Mapping[str, Any], readers: Mapping[str, Reader]) -> dict[str, Any]:
    """The columns of a row as they were written."""
    return {name: readers[name](value) if name in readers else value for name, value in values.items()}


def _reader(feature: Any) -> Reader | None:
    """What reads a value, or each of a list; None: it is stored as it was written."""
    read: Reader | None
    while isinstance(feature, list) or hasattr(feature, "feature"):
        feature = feature[0] if isinstance(feature, list) else feature.feature
    if isinstance(feature, Mapping):
        readers = readers_of(feature)
        read = functools.partial(_columns, readers) if readers else None
    elif type(feature).__name__ == "Json":
        read = _parsed
    elif (names := getattr(feature, "names", None)) is not None:  # "0", "1", ... say no more than the numbers
        numbers = [str(number) for number in range(len(names))]
        read = None if names == numbers else functools.partial(_named, names)
    else:
        short = SHORT.get(str(getattr(feature, "dtype", None)))
        read = None if short is None else functools.partial(_shortest, short)
    return None if read is None else functools.partial(_each, read)


def _each(read: Reader, value: Any) -> Any:
    return [_each(read, item) for item in value] if isinstance(value, list) else read(value)


def _columns(readers: Mapping[str, Reader], value: Any) -> Any:
    return as_written(value, readers) if isinstance(value, Mapping) else value


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


def _named(names: Sequence[str], value: Any) -> Any:
    if not isinstance(value, int) or not 0 <= value < len(names):
        return None
    name = ClassName(names[value])
    name.number = value
    return name


def _shortest(kind: type[np.floating[Any]], value: Any) -> Any:
    return float(str(kind(value))) if isinstance(value, float) else value
