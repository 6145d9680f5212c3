"""How many sentences a text has."""

from __future__ import annotations

import re

_END = re.compile(r"([.!?…]{1,50}|[。！？]{1,50})([\"'”’)\]*_]{0,5})(?=\s|$)|(?<=[。！？])(?=\S)")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'])(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|Inc|Ltd|Co|vs|etc|e\.g|i\.e|cf|approx|[A-Z](?:\.[A-Z]){1,5})$"
)
_NEXT = re.compile(r"\s*([\"'“‘(\[*_#-]{0,5})(\S)")
_LOOK_BACK = 12


def count_sentences(text: str) -> int:
    """Sentences end with . ! ? or their like before white space, but not behind an abbreviation or before a small letter.

    >>> count_sentences("Dr. Smith paid $3.50. He left! Why? Nobody knows"), count_sentences("a few words"), count_sentences("")
    (4, 1, 0)
    """
    count, rest_from = 0, 0
    for match in _END.finditer(text):
        following = _NEXT.match(text, match.end())
        before = text[max(0, match.start() - _LOOK_BACK) : match.start()]
        if match[1] == "." and following is not None and _ABBREVIATION.search(before):
            continue
        if match[1] and match[1][-1] in ".…" and following is not None and following[2].islower():
            continue
        if text[rest_from : match.start()].strip():
            count += 1
        rest_from = match.end()
    return count + bool(text[rest_from:].strip(" \t\r\n\"'”’)]*_"))
