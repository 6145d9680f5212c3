"""A reward that differs between completions of random weights; given to `--plugin`."""

import zlib

from registry import verifiers
from registry.example import Example
from registry.verifiers.base import Verifier


@verifiers.register("checksum")
class Checksum(Verifier):
    """A number in [0, 1] that only the text decides."""

    quick = True

    def __call__(self, completion: str, example: Example) -> float:
        return zlib.crc32(completion.encode()) % 1000 / 1000
