"""From the columns of a row to the fields of an example.

row      {'problem': '<image>How many?', 'solution': '<answer>3</answer>', 'picture': b'...'}
  |        columns = {'question': 'problem', 'answer': 'solution', 'image': 'picture'}
fields   {'question': '<image>How many?', 'answer': '<answer>3</answer>', 'image': b'...'}
  |        convert: what is particular to a dataset
  |        the functions below: what is common to all
Example  question 'How many?', answer '3'
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from registry.core import near_matches
from registry.example import MalformedExample
from registry.replay.converters import CONVERTERS, Converter
from registry.replay.written import ClassName

FIELDS = ("question", "answer", "image", "choices", "target", "id")
"""What a row may give. `image` is one picture or a list; everything else is described in `registry.example.Example`."""

METADATA = "metadata."
"""A field ``metadata.type`` ends up as ``example.metadata['type']``."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Columns = Mapping[str, str | Sequence[str]]
"""Field -> column; a list of columns stands for the list of their values, without empty ones. Of choices only the last may be
empty: where one is missing in between, a letter would stand for another."""


def wanted_columns(columns: Columns | None, convert: str | Converter) -> dict[str, str]:
    """Column -> the field that is read from it; {} where only a function of the user's own knows."""
    if columns is not None:
        pairs = ((names, field) for field, names in columns.items())
        return {name: field for names, field in pairs for name in ([names] if isinstance(names, str) else names)}
    return {field: field for field in CONVERTERS[convert].reads} if isinstance(convert, str) else {}


def converted(fields: dict[str, Any], convert: str | Converter, *, whole: bool) -> dict[str, Any]:
    """The fields of an example from those of a row; without `whole` a row may lack what others have (JSON Lines)."""
    if isinstance(convert, str):
        function, reads = CONVERTERS[convert]
        return dict(function(fields if whole else {**dict.fromkeys(reads), **fields}))
    try:
        return dict(convert(fields))
    except MalformedExample:
        raise
    except Exception as error:  # someone's function met a row it was not written for: no reason to end a run
        where = getattr(convert, "__name__", str(convert))
        raise MalformedExample(f"converter {where} failed: {type(error).__name__}: {error}") from error


def check_columns(columns: Columns | None, convert: str | Converter, source: str) -> None:
    """Raises ValueError for an unknown converter, and for fields that it does not know or lacks."""
    if callable(convert):
        return
    if convert not in CONVERTERS:
        raise ValueError(
            f"{source}: no converter {convert!r}{did_you_mean(convert, CONVERTERS)}\n"
            f"  all: {', '.join(CONVERTERS)}; or a function of your own: @my_converter"
        )
    if columns is None:
        return
    reads = CONVERTERS[convert].reads
    known = tuple(dict.fromkeys((*reads, *FIELDS)))
    for field in columns:
        if field not in known and not field.startswith(METADATA):
            raise ValueError(
                f"{source}: columns names a field {field!r}{did_you_mean(field, known)}\n"
                f"  fields: {', '.join(known)}, {METADATA}*"
            )
    missing = [field for field in reads if field not in columns and not (field == "question" and "image" in columns)]
    if missing:
        raise ValueError(f"{source}: columns does not say which column holds {' and '.join(missing)}")


def did_you_mean(name: str, names: Sequence[str] | Mapping[str, Any]) -> str:
    near = near_matches(name, names)
    return f"\n  did you mean: {', '.join(near)}?" if near else ""


def rename(values: Mapping[str, Any], columns: Columns | None) -> dict[str, Any]:
    """The fields of a row; without `columns` every column is a field under its own name."""
    if columns is None:
        return dict(values)
    fields = {field: _gather(values, names) for field, names in columns.items()}
    if not isinstance(columns.get("question", ""), str):  # of several columns: a hint, then the question
        fields["question"] = "\n".join(text(part, "question") for part in fields["question"]) or None
    if not isinstance(names := columns.get("choices", ""), str):
        _check_no_gap(values, names)
    return fields


def _gather(values: Mapping[str, Any], names: str | Sequence[str]) -> Any:
    if isinstance(names, str):
        return values.get(names)
    return [value for value in map(values.get, names) if not _is_blank(value)]


def _check_no_gap(values: Mapping[str, Any], names: Sequence[str]) -> None:
    blank = [_is_blank(values.get(name)) for name in names]
    if True in blank and False in blank[blank.index(True) :]:
        raise MalformedExample(f"choice {names[blank.index(True)]!r} is empty, and one behind it is not")


def _is_blank(value: Any) -> bool:
    """MMBench writes a choice that is not there as the text ``nan``."""
    return value is None or value in ("", "nan") or (isinstance(value, float) and math.isnan(value))


def text(value: Any, field: str) -> str:
    """A non-empty text, without the space around it. Raises: MalformedExample."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int | float) and not (isinstance(value, float) and math.isnan(value)):
        return str(value)
    if not isinstance(value, str):
        raise MalformedExample(
            f"{field} is {'missing' if value is None else f'of type {type(value).__name__}, not text'}"
        )
    if not value.strip():
        raise MalformedExample(f"{field} is empty")
    return value.strip()


_SIDE_BY_SIDE = re.compile(r"""(?<=[\w.)'"])(['"])\s+(['"])(?=\S)""")


def choices_of(value: Any) -> tuple[str, ...]:
    """The choices in a list, or in text that holds a Python list (MMMU); none where there is nothing.

    >>> choices_of("['2 cm', '3 cm']")
    ('2 cm', '3 cm')
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, str) and value.strip():
        if _SIDE_BY_SIDE.search(value):  # as numpy prints a list of texts: Python would join them
            raise MalformedExample(f"choices {value[:80]!r} is a list without commas: write it as JSON")
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise MalformedExample(f"choices {value[:80]!r} is not a Python list") from error
    if value is None or value == "":
        return ()
    if not isinstance(value, list | tuple):
        raise MalformedExample(f"choices is of type {type(value).__name__}, not a list")
    if len(value) > len(LETTERS):
        raise MalformedExample(f"choices has {len(value)} entries: more than there are letters")
    listed = tuple(text(choice, "a choice") for choice in value)
    lettered = [
        re.fullmatch(rf"\(?{letter}[).:] ?(\S.*)", choice, re.DOTALL)
        for letter, choice in zip(LETTERS, listed, strict=False)
    ]
    if listed and all(lettered):  # "A. cat", "B. dog": the letters come with the question
        return tuple(match[1] for match in lettered if match)
    return listed


def with_choices(question: str, choices: Sequence[str]) -> str:
    """The question with its choices below, one lettered line each; unchanged where it lists them already.

    >>> print(with_choices("Which is a mammal?", ("newt", "bat")))
    Which is a mammal?
    A. newt
    B. bat
    """
    lettered = list(zip(LETTERS, choices, strict=False))
    if all(re.search(rf"\b{letter}\W{{1,3}}{re.escape(choice)}", question) for letter, choice in lettered):
        return question
    return "\n".join([question, *(f"{letter}. {choice}" for letter, choice in lettered)]).strip()


def answer_text(value: Any, choices: Sequence[str]) -> str:
    """The reference as text: the letter for the number of a choice, the inside of ``<answer>``, the first of several.

    >>> answer_text(0, ("newt", "bat")), answer_text("<think>..</think><answer> B </answer>", ())
    ('A', 'B')
    """
    several = spellings(value)
    if several:
        return several[0]
    if choices and isinstance(value, ClassName) and value.isdigit():
        value = value.number  # names "1" to "4", of four choices
    if choices and isinstance(value, float) and value.is_integer() and str(value) not in choices:
        value = int(value)  # a column of numbers with a null became one of floats
    if choices and isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < len(choices):
            raise MalformedExample(f"answer {value} is not the number of one of {len(choices)} choices")
        return LETTERS[value]
    return text(tagged(text(value, "answer")), "answer")


def spellings(value: Any) -> tuple[str, ...]:
    """All accepted answers where there are several; none where the value is one answer.

    >>> spellings(["two", 2]), spellings([{"answer": "two"}, {"answer": "2"}]), spellings({"text": ["two", "2"]})
    (('two', '2'), ('two', '2'), ('two', '2'))

    Args:
        value: a list of texts or numbers, of ``{answer: ...}`` as VQA has them, or ``{text: [...]}`` as SQuAD has it.

    Raises:
        MalformedExample: a list of something else, or of nothing.
    """
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        value = value["text"]
    if not isinstance(value, list | tuple):
        return ()
    answers = [item["answer"] if isinstance(item, Mapping) and "answer" in item else item for item in value]
    answers = [answer for answer in answers if not _is_blank(answer)]
    numbers = [isinstance(answer, int | float) and not isinstance(answer, bool) for answer in answers]
    like_a_box = len(answers) == 4 and all(numbers)
    if not answers or like_a_box or not all(isinstance(a, str) or n for a, n in zip(answers, numbers, strict=True)):
        raise MalformedExample(f"answer {str(value)[:80]} is not a list of texts; if it is a box, set box_frame")
    return tuple(text(tagged(text(answer, "an answer")), "an answer") for answer in answers)


def tagged(value: str) -> str:
    """The inside of the last ``<answer>`` tag; the whole text where there is none."""
    before, closed, _ = value.rpartition("</answer>")
    _, opened, inside = before.rpartition("<answer>")
    return inside if closed and opened else value
