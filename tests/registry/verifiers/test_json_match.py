"""Exact JSON by Python's own equality; partial JSON by Donut's count of fields, written down anew."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.example import Example
from registry.verifiers.json_match import JsonMatch
from registry.verifiers.json_text import NotJson, read_json, same_json

EXAMPLE = Example(id="1", question="?", answer="{}")
leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b", "1"])
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner), max_leaves=8
)


def tagged(value: Any) -> str:
    return f"<answer>{value if isinstance(value, str) else json.dumps(value)}</answer>"


@given(values, values)
def test_exact(given_value: Any, reference: Any) -> None:
    same = json.dumps(given_value, sort_keys=True) == json.dumps(reference, sort_keys=True)
    completion = f"<answer>{json.dumps(given_value, indent=1)}</answer>"
    example = replace(EXAMPLE, answer=json.dumps(reference))
    assert JsonMatch()(completion, example) == same
    assert JsonMatch(partial=True)(completion, example) == pytest.approx(
        1 if same else published_f1(given_value, reference)
    )


def published_f1(given_value: Any, reference: Any) -> float:
    """Donut's cal_f1: fields found are taken out of the reference's list; tp / (tp + (fp + fn) / 2)."""

    def flatten(value: Any, key: str = "") -> list[tuple[str, str]]:
        if isinstance(value, dict):
            return [field for name, inner in value.items() for field in flatten(inner, f"{key}.{name}")]
        if isinstance(value, list):
            return [field for inner in value for field in flatten(inner, key)]
        return [(key, json.dumps(value))]

    found, left = flatten(given_value), flatten(reference)
    right = wrong = 0
    for field in found:
        if field in left:
            right += 1
            left.remove(field)
        else:
            wrong += 1
    wrong += len(left)
    return right / (right + wrong / 2) if right else 0.0


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "partial"),
    [
        ('{"a": 1, "b": 2}', '{"b": 2.0, "a": 1}', 1, 1),
        ('```json\n{"a": 1}\n```', '{"a": 1}', 1, 1),
        ('```\n{"a": 1}\n```', '{"a": 1}', 1, 1),
        ('{"a": "1"}', '{"a": 1}', 0, 0),
        ('{"a": true}', '{"a": 1}', 0, 0),
        ('{"a": 1}', '{"a": 1, "b": 2}', 0, 2 / 3),
        ('{"a": 1, "b": 2, "c": 3}', '{"a": 1}', 0, 0.5),  # listing what may be there costs
        ('[{"n": "x"}, {"n": "y"}]', '[{"n": "y"}, {"n": "x"}]', 0, 1),
        ('{"a": 1, "a": 2}', '{"a": 2}', 0, 0),  # a key twice: no reader agrees
        ('{"a": NaN}', '{"a": 1}', 0, 0),
        ("{'a': 1}", '{"a": 1}', 0, 0),
        ('Here it is: {"a": 1}', '{"a": 1}', 0, 0),
        ("", '{"a": 1}', 0, 0),
        ("{}", "{}", 1, 1),
        ("[" * 50_000, "[]", 0, 0),
        ("[" * 900 + "]" * 900, "[]", 0, 0),
        ("1" * 50_000, "1", 0, 0),
        ("1e999", "1", 0, 0),
        ('"\\ud800"', '"a"', 0, 0),
    ],
)
def test_by_hand(answer: str, reference: str, exact: float, partial: float) -> None:
    example = replace(EXAMPLE, answer=reference)
    assert JsonMatch()(tagged(answer), example) == exact
    assert JsonMatch(partial=True)(tagged(answer), example) == pytest.approx(partial)


def test_a_reference_that_is_no_json_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="example '1': the reference is no JSON"):
        JsonMatch()("babble", replace(EXAMPLE, answer="42 apples"))


def test_too_long_a_text_is_not_read() -> None:
    with pytest.raises(NotJson, match="200002 characters"):
        read_json("[" + " " * 200_000 + "]")


@given(values)
def test_a_value_is_itself(value: Any) -> None:
    assert same_json(value, json.loads(json.dumps(value)))
