"""Warnings of libraries that a user can do nothing about, silenced one by one; each says why. All others are heard."""

from __future__ import annotations

import logging
import re
from typing import NamedTuple


class Silenced(NamedTuple):
    """A message that is not shown.

    Attributes:
        logger: that it comes from.
        message: part of it, a regular expression.
        because: why nobody has to see it.
    """

    logger: str
    message: str
    because: str


SILENCED = (
    Silenced(
        "accelerate.utils.other",
        r"Removed shared tensor .* while saving",
        "a tied weight is in the checkpoint once, and loading ties it again: tests compare a resumed run bit for bit",
    ),
)


class _Filter(logging.Filter):
    def __init__(self, message: str) -> None:
        super().__init__()
        self._message = re.compile(message)

    def filter(self, record: logging.LogRecord) -> bool:
        return self._message.search(record.getMessage()) is None


_FILTERS = [(silenced.logger, _Filter(silenced.message)) for silenced in SILENCED]


def silence() -> None:
    """From now on, in this process; a second time it does nothing."""
    for logger, unheard in _FILTERS:
        logging.getLogger(logger).addFilter(unheard)
