"""Turns of a chat, in the spellings in which tables hold them.

[{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]                    ShareGPT, LLaVA
[{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]           OpenAI, TRL, verl, ms-swift
{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": ...}]}     a content of parts: <image> for a picture
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from registry.example import MalformedExample
from registry.replay.markers import MARKER

SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "model": "assistant"}


class Turn(NamedTuple):
    """Who says it ('user', 'assistant', or as written), and what: text where it is one."""

    speaker: str
    content: Any


def turns_of(value: Any, field: str) -> list[Turn]:
    """The turns of a chat, without that of a system in front.

    >>> turns_of([{"from": "system", "value": "Be short."}, {"from": "human", "value": "1 + 1?"}], "conversations")
    [Turn(speaker='user', content='1 + 1?')]

    Raises:
        MalformedExample: no list of turns.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise MalformedExample(f"{field} is text, not a list of turns") from error
    if not isinstance(value, list) or not all(isinstance(turn, Mapping) for turn in value):
        raise MalformedExample(f"{field} is not a list of turns {{role, content}} or {{from, value}}")
    turns = [_turn(turn) for turn in value]
    return turns[1:] if turns and turns[0].speaker == "system" else turns


def asked(value: Any, field: str) -> Any:
    """What the user of a chat of one turn asks. Raises: MalformedExample: there are other turns."""
    return only(turns_of(value, field), ["user"], field)[0].content


def only(turns: list[Turn], speakers: list[str], field: str) -> list[Turn]:
    """The turns, if these are the speakers. Raises: MalformedExample: names those that there are."""
    found = [turn.speaker for turn in turns]
    if found != speakers:
        raise MalformedExample(
            f"{field} has the turns {', '.join(found) or '(none)'}, not {', '.join(speakers)} (and a system in front)"
        )
    return turns


def _turn(turn: Mapping[str, Any]) -> Turn:
    speaker = str(turn.get("role") or turn.get("from")).lower()
    content = turn["content"] if turn.get("content") is not None else turn.get("value")
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        content = "".join(map(_part, content))
    return Turn(SPEAKERS.get(speaker, speaker), content)


def _part(part: Mapping[str, Any]) -> str:
    if part.get("type") == "image" or (part.get("type") is None and part.get("image") is not None):
        return MARKER
    if isinstance(part.get("text"), str):
        return str(part["text"])
    raise MalformedExample(f"a turn has a part {str(dict(part))[:60]}, neither text nor image")
