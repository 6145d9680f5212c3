"""Outcomes: what came of every held-out example at one evaluation, kept so that any question can be asked of it later."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ABOUT = b"recap"  # the key of the file's metadata under which `about` is


@dataclass(frozen=True, slots=True)
class Outcome:
    """One completion of one held-out example.

    Attributes:
        example: its id.
        position: its position in the capability's source, by which `source.example(position)` gives it again.
        digest: of its question and pictures.
        cluster: what it belongs to; see `recap.evaluation.identity`.
        sample: 0: the greedy completion; 1 to m: one of `Capability.samples`.
        score: the verifier's, in [0, 1]; None where it does not apply.
        lenient: the score of the same completion with the answer looked for everywhere.
        formatted: whether there is an answer where the example wants it.
        completion: as text.
        tokens: its length, the end token included.
        truncated: whether it was cut off.
        chance: the score of a guess: 1 / the number of choices; 0 without choices.
        question: of the example.
        reference: its answer.
    """

    example: str
    position: int
    digest: str
    cluster: str
    sample: int
    score: float | None
    lenient: float | None
    formatted: bool
    completion: str
    tokens: int
    truncated: bool
    chance: float
    question: str
    reference: str


Outcomes = dict[str, list[Outcome]]
"""Capability -> what came of its examples, by position and sample; the same on every process."""

_TYPES = {
    "int": pa.int32(),
    "float": pa.float64(),
    "float | None": pa.float64(),
    "bool": pa.bool_(),
    "str": pa.string(),
}
SCHEMA = pa.schema([("capability", pa.string()), *((field.name, _TYPES[str(field.type)]) for field in fields(Outcome))])


def write_outcomes(path: Path, outcomes: Outcomes, about: Mapping[str, Any]) -> None:
    """Writes the outcomes of one evaluation as one Parquet file, which is whole or not there.

    Args:
        about: what they are of; JSON.
    """
    rows = [{"capability": name, **asdict(row)} for name, rows in outcomes.items() for row in rows]
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({ABOUT: json.dumps(dict(about))}))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    pq.write_table(table, partial, compression="zstd")
    os.replace(partial, path)


def read_outcomes(path: Path) -> tuple[Outcomes, dict[str, Any]]:
    """What `write_outcomes` wrote: the outcomes, and what they are of.

    Raises:
        ValueError: no file of outcomes.
    """
    try:
        table = pq.read_table(path)
        about: dict[str, Any] = json.loads((table.schema.metadata or {})[ABOUT])
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise ValueError(f"{path}: no file of outcomes ({error})") from error
    outcomes: Outcomes = {}
    for row in table.to_pylist():
        outcomes.setdefault(row.pop("capability"), []).append(Outcome(**row))
    return outcomes, about


def greedy(rows: Sequence[Outcome]) -> list[Outcome]:
    """The greedy completions that the verifier could judge."""
    return [row for row in rows if row.sample == 0 and row.score is not None]
