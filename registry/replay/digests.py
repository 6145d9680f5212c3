"""What a part of an experiment is, in a few letters: its settings, and the files that it reads."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.example import Example, MalformedExample
from registry.replay.base import ReplaySource

STATE = frozenset({"position", "malformed"})
"""What a source is at, not what it is."""
BLOCKS, BLOCK = 64, 1 << 16
"""Of a large file, so many blocks of so many bytes are read, evenly spread: other weights differ in all of them."""
PROBES = 64
"""Examples of a source that are read, evenly spread."""
LENGTH = 12
"""Hexadecimal digits: two of a million things agree by chance once in 280."""


def digest(*parts: Any) -> str:
    """A short name for what the parts hold together: JSON values."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:LENGTH]


def settings_of(part: Any) -> Any:
    """What a part was built with, as JSON: its class and its public attributes, those of parts within it too."""
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, Mapping):
        return {str(key): settings_of(value) for key, value in part.items()}
    if isinstance(part, list | tuple | set | frozenset):
        return [settings_of(item) for item in part]
    if isinstance(part, functools.partial):
        return [settings_of(part.func), settings_of(part.args), settings_of(part.keywords)]
    if isinstance(part, type) or not hasattr(part, "__dict__") or (callable(part) and hasattr(part, "__qualname__")):
        return f"{getattr(part, '__module__', '')}.{getattr(part, '__qualname__', type(part).__qualname__)}"
    public = {k: v for k, v in vars(part).items() if not k.startswith("_") and k not in STATE}
    return {"class": settings_of(type(part)), **{name: settings_of(value) for name, value in public.items()}}


def file_digest(file: Path) -> str:
    """Of a file's length, and its contents as far as `BLOCKS` go."""
    size = file.stat().st_size
    found = hashlib.blake2b(f"{file.name} {size}".encode())
    with file.open("rb") as stream:
        for block in range(BLOCKS):
            start = block * max(BLOCK, (size - BLOCK) // (BLOCKS - 1))
            if start >= size:
                break
            stream.seek(start)
            found.update(stream.read(BLOCK))
    return found.hexdigest()


def source_digest(source: ReplaySource, examples: int) -> str:
    """Of a source's settings and some of its first `examples` examples. Raises what the source raises."""
    step = max(1, examples // PROBES)
    return digest(settings_of(source), [_example_digest(source, position) for position in range(0, examples, step)])


def _example_digest(source: ReplaySource, position: int) -> str:
    try:
        example: Example = source.example(position)
    except MalformedExample as error:
        return str(error)
    found = hashlib.blake2b("\0".join((example.id, example.question, example.answer)).encode(errors="replace"))
    for image in example.images:
        found.update(image.tobytes())
    return found.hexdigest()
