"""What a source has skipped: by kind, in bounded memory, over processes and resumes."""

from __future__ import annotations

import json

from registry.example import Example, MalformedExample, kind_of
from registry.replay.base import ReplaySource
from registry.replay.malformed import LISTED, MOST_KINDS, OTHER, Malformed, merged


def skipped(*messages: str) -> Malformed:
    found = Malformed()
    for message in messages:
        found.add(MalformedExample(message))
    return found


def test_messages_that_differ_in_their_row_alone_are_of_one_kind() -> None:
    found = skipped(*(f"image 'train/{n}.png' does not exist in /data/images {n}" for n in range(1000)))
    assert dict(found.counts) == {"image … does not exist in … …": 1000}
    assert found.listed == [f"image 'train/{n}.png' does not exist in /data/images {n}" for n in range(LISTED)]
    assert len(json.dumps(found.state_dict())) < 500


def test_the_kind_is_that_of_the_error_that_was_wrapped() -> None:
    error = MalformedExample("rows.jsonl, line 7: answer is missing")
    error.__cause__ = MalformedExample("answer is missing")
    assert error.kind == "answer is missing"
    assert MalformedExample("a: prompt of 9 tokens, at most 8", "prompt too long").kind == "prompt too long"


def test_kinds_are_bounded_too() -> None:
    found = skipped(*(f"reason {'x' * n}" for n in range(500)))
    assert len(found.counts) <= MOST_KINDS + 1
    assert found.total() == 500
    assert found.counts[OTHER] == 500 - MOST_KINDS
    assert len(found.listed) <= (MOST_KINDS + 1) * LISTED


def test_a_state_round_trip() -> None:
    found, again = skipped("a", "a", "b"), Malformed()
    again.load_state_dict(json.loads(json.dumps(found.state_dict())))
    assert again.state_dict() == found.state_dict()
    again.add(MalformedExample("a"))
    assert again.counts == {"a": 3, "b": 1}


def test_a_state_of_an_older_version_is_message_to_count() -> None:
    found = Malformed()
    found.load_state_dict({"data/train, row 2: answer is missing": 3, "data/train, row 5: answer is missing": 1})
    assert found.counts == {kind_of("data/train, row 2: answer is missing"): 4}
    assert found.listed == ["data/train, row 2: answer is missing", "data/train, row 5: answer is missing"]
    found.load_state_dict({})
    assert found.total() == 0


def test_processes_together() -> None:
    together = merged([skipped("a", "b").state_dict(), skipped("a").state_dict(), skipped().state_dict()])
    assert together["counts"] == {"a": 2, "b": 1}
    assert together["first"] == {"a": ["a", "a"], "b": ["b"]}


class Untyped(ReplaySource):
    """A source of one's own that does not look at its rows."""

    length = 4

    def example(self, position: int) -> Example:
        fields = [{"question": None}, {"answer": float("nan")}, {"target": 3}, {}][position]
        return Example(**{"id": str(position), "question": "q", "answer": "a", **fields})  # type: ignore[arg-type]


def test_what_is_no_text_is_malformed_whoever_made_it() -> None:
    source = Untyped()
    assert [example.id for example in source.take(4)] == ["3"]
    assert source.malformed.listed == [
        "example 0: question is of type NoneType, not text",
        "example 1: answer is of type float, not text",
        "example 2: target is of type int, not text",
    ]
