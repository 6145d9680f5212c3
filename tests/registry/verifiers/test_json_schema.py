import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("jsonschema")

from registry.example import Example
from registry.verifiers.base import UNDECIDED, is_quick
from registry.verifiers.json_schema import JsonSchema

SCHEMA = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "additionalProperties": False,
}
EXAMPLE = Example(id="1", question="?", answer="")


@pytest.mark.parametrize(
    ("answer", "reward"),
    [
        ('{"name": "Ada"}', 1),
        ('```json\n{"name": "Ada", "age": 36}\n```', 1),
        ('{"age": 36}', 0),
        ('{"name": "Ada", "age": -1}', 0),
        ('{"name": "Ada", "age": 36.5}', 0),
        ('{"name": "Ada", "extra": 1}', 0),
        ('{"name": "Ada", "name": 3}', 0),
        ("Ada", 0),
        ("", 0),
    ],
)
def test_answers(answer: str, reward: float) -> None:
    judge = JsonSchema(SCHEMA)
    completion = f"<answer>{answer}</answer>"
    assert judge(completion, EXAMPLE) == reward
    assert judge.shortcut(completion, EXAMPLE) in (UNDECIDED, reward)
    assert not is_quick(judge)


def test_schemas_of_files_and_rows(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(SCHEMA))
    completion = '<answer>{"name": "Ada"}</answer>'
    assert JsonSchema(str(file))(completion, EXAMPLE) == 1
    assert JsonSchema()(completion, EXAMPLE) is None
    assert JsonSchema().shortcut(completion, EXAMPLE) is None
    for schema in (SCHEMA, json.dumps(SCHEMA)):
        assert JsonSchema()(completion, replace(EXAMPLE, metadata={"schema": schema})) == 1


def test_nothing_is_fetched() -> None:
    judge = JsonSchema({"$ref": "https://example.invalid/schema.json"})
    with pytest.raises(Exception, match=r"(?i)unresolvable|example.invalid"):
        judge("<answer>1</answer>", EXAMPLE)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("no/such.json", "json_schema.schema: there is no file 'no/such.json'"),
        ('{"type": ', "json_schema.schema is no JSON"),
        ({"type": "objekt"}, "json_schema.schema is no JSON schema: 'objekt'"),
    ],
)
def test_schemas_that_are_none(schema: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JsonSchema(schema)  # type: ignore[arg-type]
