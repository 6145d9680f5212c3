"""Rows of other people's data sets as the examples that verifiers judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from registry.example import Example

FIELDS = tuple(field.name for field in fields(Example) if field.name != "metadata")


def to_example(row: Mapping[str, Any], columns: Mapping[str, str], *, question: str, default_id: str) -> Example:
    """One row as an example: columns called like its fields are taken, and those that `columns` names; the rest is metadata.

    Args:
        row: column -> value.
        columns: field of `Example` -> column.
        question: the prompt, where no column holds it.
        default_id: where no column holds it.

    Raises:
        ValueError: `columns` names a field or a column that there is not.
    """
    for field, column in columns.items():
        if field not in FIELDS:
            raise ValueError(f"columns: an example has no field {field!r}; its fields: {', '.join(FIELDS)}")
        if column not in row:
            raise ValueError(
                f"columns: {field!r} is to come from the column {column!r}; there are {', '.join(row) or 'none'}"
            )
    source = {**{field: field for field in FIELDS if field in row}, **columns}
    values = {field: row[column] for field, column in source.items() if row[column] is not None}
    values["id"] = str(values.get("id", default_id))
    values["question"] = str(values.get("question", question))
    values["answer"] = str(values.get("answer", ""))
    for field in ("images", "choices", "file_size", "processed_size"):
        if field in values:
            values[field] = tuple(values[field])
    used = set(source.values())
    return Example(**values, metadata={column: value for column, value in row.items() if column not in used})


def text_of(message: Any) -> str:
    """The text of a prompt or completion: a string, or the last of a list of chat messages."""
    if isinstance(message, str):
        return message
    if not message:
        return ""
    content = message[-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(block.get("text") or "" for block in content or () if block.get("type") == "text")
