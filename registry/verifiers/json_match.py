"""Is the answer the JSON that was asked for, wholly or in part?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from registry import verifiers
from registry.example import Example
from registry.verifiers.answers import answer_of
from registry.verifiers.base import Verifier
from registry.verifiers.json_text import NotJson, read_json, same_json
from registry.verifiers.token_f1 import f1


@verifiers.register("json_match")
class JsonMatch(Verifier):
    """1 where the answer is the reference's JSON value, otherwise 0; or with `partial` the F1 of its fields.

    Exact: values as RFC 8259 has them; the order of keys and white space do not matter, 1 is 1.0 but not "1". Partial: every
    leaf is a field, the keys on the way to it and its text or number, list positions aside, and F1 is taken over the fields of
    both sides.

    Source of `partial`: field-level F1 of Donut (arXiv 2111.15664) as reported for CORD, `cal_f1` of its script. Differs:
    numbers and texts are not the same field.

    >>> example = Example(id="1", question="the receipt?", answer='{"shop": "A", "items": [{"name": "tea", "price": 2}]}')
    >>> answer = '<answer>```json{"items": [{"price": 2.0, "name": "tee"}], "shop": "A"}```</answer>'
    >>> JsonMatch()(answer, example), round(JsonMatch(partial=True)(answer, example), 3)
    (0.0, 0.667)

    Args:
        partial: F1 of the fields instead of all or nothing.

    Raises:
        ValueError: at a call, an example whose reference is no JSON.
    """

    quick = True

    def __init__(self, partial: bool = False) -> None:
        self.partial = partial

    def __call__(self, completion: str, example: Example) -> float:
        try:
            reference = read_json(example.answer)
        except NotJson as error:
            raise ValueError(f"example {example.id!r}: the reference is no JSON: {error}") from error
        try:
            given = read_json(answer_of(completion, example) or "")
            if same_json(given, reference):
                return 1.0
            return f1(list(fields(given)), list(fields(reference))) if self.partial else 0.0
        except (NotJson, RecursionError):
            return 0.0


def fields(value: Any, path: str = "") -> Iterator[str]:
    """The leaves of a JSON value, each with the keys that lead to it.

    >>> list(fields({"a": [{"b": 1.0}, {"b": "1 "}]}))
    ['/a/b = 1', "/a/b = '1'"]
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from fields(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from fields(inner, path)
    elif isinstance(value, str):
        yield f"{path} = {value.strip()!r}"
    elif isinstance(value, bool) or value is None:
        yield f"{path} = {value}"
    else:
        whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
        yield f"{path} = {int(value) if whole else value}"
