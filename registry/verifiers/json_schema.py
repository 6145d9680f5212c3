"""Has the answer the shape that a JSON schema asks for?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from registry import verifiers
from registry.example import Example
from registry.verifiers.answers import answer_of
from registry.verifiers.base import UNDECIDED, Undecided, Verifier
from registry.verifiers.json_text import NotJson, read_json

MISSING = 'verifiers.json_schema: the package jsonschema is missing: pip install "recap-rlvr[verifiers]"'


@verifiers.register("json_schema")
class JsonSchema(Verifier):
    """1 where the answer is JSON that a schema accepts, otherwise 0.

    Source: JSON Schema, draft 2020-12 unless the schema names another (`$schema`), by the package jsonschema; used so in
    JSONSchemaBench (arXiv 2501.10868). A `$ref` to elsewhere is not fetched. Runs in a worker, as a `pattern` of the schema may
    take without end on some text. Needs the extra `verifiers`.

    >>> judge = JsonSchema({"type": "object", "required": ["name"], "properties": {"age": {"type": "integer"}}})
    >>> example = Example(id="1", question="who?", answer="")
    >>> judge('<answer>{"name": "Ada", "age": 36}</answer>', example), judge('<answer>{"age": "36"}</answer>', example)
    (1.0, 0.0)

    Args:
        schema: the schema, or the path of a file that holds it; None: ``metadata['schema']`` of each example, as a mapping or
            as text, which the verifier does not apply to (None) without one.

    Raises:
        ValueError: no such file, something that is no schema, or the package jsonschema is missing; at a call, an example
            whose schema is none.
    """

    needs: ClassVar[Mapping[str, str]] = {"jsonschema": "verifiers"}

    def __init__(self, schema: Mapping[str, Any] | str | None = None) -> None:
        self.schema = None if schema is None else _loaded(schema, "verifiers.json_schema.schema")
        if self.schema is not None:
            _check(self.schema, "verifiers.json_schema.schema")

    def prepare(self) -> None:
        _known_schemas()
        _validator({})

    def __call__(self, completion: str, example: Example) -> float | None:
        schema = self.schema
        if schema is None:
            where = f"example {example.id!r}: metadata['schema']"
            own = example.metadata.get("schema")
            if own is None:
                return None
            schema = _loaded(own, where)
            _check(schema, where)
        try:
            value = read_json(answer_of(completion, example) or "")
            return float(_validator(schema)(schema, registry=_known_schemas()).is_valid(value))
        except (NotJson, RecursionError):
            return 0.0

    def shortcut(self, completion: str, example: Example) -> float | Undecided | None:
        if self.schema is None and example.metadata.get("schema") is None:
            return None
        try:
            read_json(answer_of(completion, example) or "")
        except NotJson:
            return 0.0
        return UNDECIDED


def _loaded(schema: Mapping[str, Any] | str, where: str) -> Any:
    if not isinstance(schema, str):
        return schema
    text = schema
    if not schema.lstrip().startswith("{"):
        file = Path(schema).expanduser()
        if not file.is_file():
            raise ValueError(f"{where}: there is no file {schema!r}")
        text = file.read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is no JSON: {error}") from error


def _check(schema: Any, where: str) -> None:
    try:
        from jsonschema import SchemaError
    except ImportError as error:
        raise ValueError(MISSING) from error
    if not isinstance(schema, Mapping):
        raise ValueError(f"{where} must be an object; it is {schema!r}")
    try:
        _validator(schema).check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"{where} is no JSON schema: {error.message}") from error


def _validator(schema: Any) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    return validator_for(schema, default=Draft202012Validator)


def _known_schemas() -> Any:
    """The drafts themselves, and nothing that would have to be fetched."""
    from jsonschema_specifications import REGISTRY

    return REGISTRY
