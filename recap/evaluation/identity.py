"""Which example is which: by content, and which of them belong together."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from registry.example import Example

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PIL.Image import Image

CLUSTER = "cluster"
"""The field of `Example.metadata` by which a source says which examples belong together."""


def digest_of(example: Example) -> str:
    """16 hexadecimal digits of the question and the pixels of its pictures, whatever the example is called."""
    return _digest(example.question, example.images)


def cluster_of(example: Example) -> str:
    """Examples of one cluster succeed and fail together, so that they are not so many independent observations.

    What the source says in ``metadata['cluster']`` (in a table: ``columns = {'metadata.cluster': 'template_id'}``); else
    the pictures, as several questions about one picture belong together; else the question.
    """
    if CLUSTER in example.metadata:
        return str(example.metadata[CLUSTER])
    return _digest("", example.images) if example.images else digest_of(example)


def _digest(text: str, images: Iterable[Image]) -> str:
    found = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8)
    for image in images:
        found.update(f"\n{image.mode} {image.size}\n".encode("utf-8", "surrogatepass"))
        found.update(image.tobytes())
    return found.hexdigest()
