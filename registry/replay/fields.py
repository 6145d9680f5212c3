"""From the columns of a row to the fields of an example.

row      {'problem': '<image>How many?', 'solution': '<answer>3</answer>', 'picture': b'...'}
  |        columns = {'question': 'problem', 'answer': 'solution', 'image': 'picture'}
fields   {'question': '<image>How many?', 'answer': '<answer>3</answer>', 'image': b'...'}
  |        convert: what is particular to a dataset
  |        the functions below: what is common to all
Example  question 'How many?', answer '3'
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from registry.core import near_matches
from registry.example import MalformedExample
from registry.replay.choices import LETTERS
from registry.replay.converters import CONVERTERS, Converter
from registry.replay.texts import is_blank, text
from registry.replay.turns import asked
from registry.replay.written import ClassName

FIELDS = ("question", "answer", "image", "choices", "target", "id")
"""What a row may give. `image` is one picture or a list; everything else is described in `registry.example.Example`."""

METADATA = "metadata."
"""A field ``metadata.type`` ends up as ``example.metadata['type']``."""

PICTURES = ("images", "img", "imgs", "picture", "pictures", "image_path", "image_file")
"""Other names than `image`, by which a message tells that pictures may have been meant."""

Columns = Mapping[str, str | Sequence[str]]
"""Field -> column, or what lies in one (``extra.answer``); a list of columns stands for the list of their values, without
empty ones. Of choices only the last may be empty: where one is missing in between, a letter would stand for another."""


def wanted_columns(columns: Columns | None, convert: str | Converter) -> dict[str, str]:
    """Column -> the field that is read from it; {} where only a function of the user's own knows."""
    if columns is not None:
        pairs = ((names, field) for field, names in columns.items())
        return {name: field for names, field in pairs for name in ([names] if isinstance(names, str) else names)}
    return {field: field for field in CONVERTERS[convert].reads} if isinstance(convert, str) else {}


def column_of(name: str, columns: Collection[str]) -> str:
    """The column in which a value of that name stands: ``extra.answer`` in `extra`, unless a column bears the whole name.

    >>> column_of("extra.answer", ["extra"]), column_of("extra.answer", ["extra", "extra.answer"])
    ('extra', 'extra.answer')
    """
    outer = name.partition(".")[0]
    return outer if name not in columns and outer in columns else name


def check_schema(wanted: Mapping[str, str], columns: Sequence[str], origin: str, source: str) -> None:
    """Raises ValueError, one for all that is missing, where fields name columns that a table lacks."""
    missing = {column: field for column, field in wanted.items() if column_of(column, columns) not in columns}
    if missing:
        complaints = [
            f"{source}: {origin} has no column {name!r}, for {field}{did_you_mean(name, columns)}"
            for name, field in missing.items()
        ]
        raise ValueError("\n".join(complaints) + f"\n  columns: {', '.join(columns)}")


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
        return _value(values, names)
    return [value for value in (_value(values, name) for name in names) if not is_blank(value)]


def _value(values: Any, name: str) -> Any:
    """The value of a column, or of what lies in one: ``extra.answer``; None where there is none."""
    if not isinstance(values, Mapping):
        return None
    outer, dot, inner = name.partition(".")
    return values.get(name) if name in values or not dot else _value(values.get(outer), inner)


def _check_no_gap(values: Mapping[str, Any], names: Sequence[str]) -> None:
    blank = [is_blank(_value(values, name)) for name in names]
    if True in blank and False in blank[blank.index(True) :]:
        raise MalformedExample(f"choice {names[blank.index(True)]!r} is empty, and one behind it is not")


def question_of(fields: Mapping[str, Any], is_pictured: bool) -> str:
    """The question; of a chat, what its one turn asks; empty where it is in the picture (MMMU-Pro vision)."""
    if "question" not in fields and is_pictured:
        return ""
    question = fields.get("question")
    return text(asked(question, "question") if isinstance(question, list) else question, "question")


def unread_pictures(fields: Mapping[str, Any]) -> str:
    """A hint where a row without the field `image` has something under a name for pictures; else nothing."""
    found = [name for name in PICTURES if "image" not in fields and not is_blank(fields.get(name))]
    return f"; its column {found[0]!r} is not read: bind columns = {{..., 'image': {found[0]!r}}}" if found else ""


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
    answers = [answer for answer in answers if not is_blank(answer)]
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
