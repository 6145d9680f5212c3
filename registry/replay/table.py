"""What sources over rows have in common: columns -> examples; and over finite tables: order, samples."""

from __future__ import annotations

import functools
import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from registry.example import BoxFrame, Example, MalformedExample, Size
from registry.replay.base import MissingData, ReplaySource, shuffled_row
from registry.replay.boxes import BoxOrder, box_text, boxes_text
from registry.replay.choices import choices_of, letter_of, with_choices
from registry.replay.converters import Converter
from registry.replay.fields import (
    METADATA,
    Columns,
    answer_text,
    check_columns,
    check_schema,
    column_of,
    converted,
    did_you_mean,
    question_of,
    rename,
    spellings,
    tagged,
    unread_pictures,
    wanted_columns,
)
from registry.replay.markers import place
from registry.replay.pictures import load_images
from registry.replay.reference_fault import check_option
from registry.replay.rows import Chained, Exploded, NamedTable, Row, Sampled, Table
from registry.replay.texts import is_blank, key_of, text

if TYPE_CHECKING:
    from PIL.Image import Image

PROBES = 16


@dataclass(kw_only=True, eq=False)
class RowSource(ReplaySource):
    """A source whose examples are rows with columns.

    Common to all: ``<image>`` markers within a question stay, those before it go (`registry.replay.markers`); choices are
    listed under it, lettered, unless it lists them already; the reference is what stands in the ``<answer>`` tag of an
    answer, the letter for the number or the label of a choice (`registry.replay.choices`), or the first of a list of
    spellings (all are in ``metadata['answers']``). A question may be a chat of one turn. A row whose
    picture is null is asked in text alone.

    A picture that is not there, an empty answer, a box outside its frame and the like make a row a `MalformedExample`,
    which is skipped and counted; if none of the first rows can be used, the source is refused.

    Args:
        columns: field -> column, for the fields question, answer, image, choices, target, id and ``metadata.anything``;
            a list of columns stands for the list of their values (a question's are lines of it), ``extra.answer`` for what
            lies in one. Left out: columns bear the names of the fields.
        convert: what is particular to the data set: 'plain', 'choice_index' (the answer is ``'2'`` for C),
            'conversations' (turns of a chat, as of LLaVA or OpenAI; reads the field conversations), 'worked_solution' (the
            answer ends with ``#### 42``, or has it in a box), 'verl' (reads the fields prompt and reward_model), or a
            function fields -> fields.
        box_frame: the answer is a box, in this frame: 'file', 'processed', 'fraction' or 'thousandths'.
        box_order: 'xyxy', or 'xywh' for a corner with width and height.
        several_boxes: the answer is a list of boxes (`@verifiers.boxes()`), not one.
        image_root: folder where relative image paths start; left out: the folder of the table.
        max_image_side: larger pictures are shrunk to this many pixels on the longer side. A box in the frame 'file' and
            `Example.file_size` keep to the picture as published.
        shuffle: whether each epoch has an order of its own.
        seed: seeds the order; None: from that of the run, and 0 for what is held out.

    Raises:
        ValueError: settings that cannot work; no file or column is looked at yet.
    """

    name: ClassVar[str] = "table"  # as registered

    columns: Columns | None = None
    convert: str | Converter = "plain"
    box_frame: BoxFrame | None = None
    box_order: BoxOrder = "xyxy"
    several_boxes: bool = False
    image_root: str | None = None
    max_image_side: int | None = None
    shuffle: bool = True
    seed: int = None  # type: ignore[assignment]  # None: that of the run; a number as soon as this is made

    def __post_init__(self) -> None:
        super().__init__(self.seed)
        check_columns(self.columns, self.convert, self.title)
        self._check_choice("box_frame", get_args(BoxFrame), optional=True)
        self._check_choice("box_order", get_args(BoxOrder))
        self._check_positive("max_image_side")
        for parameter in ("box_order", "several_boxes"):
            value = getattr(self, parameter)
            if value not in ("xyxy", False) and self.box_frame is None:
                raise ValueError(f"{self.title}: {parameter} is {value!r}, but without box_frame there are no boxes")
        if self.box_frame == "processed" and self.max_image_side is not None:
            raise ValueError(
                f"{self.title}: max_image_side changes what is processed, where box_frame 'processed' belongs"
            )

    @property
    def title(self) -> str:
        """How messages name the source."""
        return f"replay.{self.name}"

    def wanted(self) -> dict[str, str]:
        """Column -> what it is read for."""
        return wanted_columns(self.columns, self.convert)

    def columns_of(self, columns: Sequence[str]) -> list[str]:
        """Those of a table's columns that are read."""
        return list(dict.fromkeys(column_of(name, columns) for name in self.wanted()))

    def check(self) -> None:
        if self._image_root is not None and not self._image_root.is_dir():
            raise MissingData(f"{self.title}: image_root {self.image_root!r} is not a folder")

    def check_schema(self, columns: Sequence[str], origin: str) -> None:
        """Raises ValueError, one for all that is missing, where fields name columns that the table lacks."""
        check_schema(self.wanted(), columns, origin, self.title)

    @property
    def _image_root(self) -> Path | None:
        return None if self.image_root is None else Path(self.image_root).expanduser()

    def probe(self, rows: Iterable[Callable[[], Row]]) -> None:
        """Raises ValueError where the first examples are malformed one and all: the settings must be wrong."""
        errors = []
        for read in itertools.islice(rows, PROBES):
            try:
                self.build(read())
                return
            except MalformedExample as error:
                errors.append(str(error))
        if not errors:
            raise ValueError(
                f"{self.title} has no rows: {', '.join(self.origins[:3])} is empty, or all is filtered out"
            )
        raise ValueError(f"{self.title}: none of {len(errors)} rows tried can be used; the first: {errors[0]}")

    def build(self, row: Row) -> Example:
        """The example that a row is."""
        try:
            return self._build(
                row, converted(rename(row.values, self.columns), self.convert, whole=self.columns is not None)
            )
        except MalformedExample as error:
            raise MalformedExample(f"{row.where}: {error}") from error

    def _build(self, row: Row, fields: Mapping[str, Any]) -> Example:
        images: tuple[Image, ...] = ()
        sizes: tuple[Size, ...] = ()
        if "image" in fields:
            folder = row.folder if self._image_root is None else self._image_root
            images, sizes = load_images(fields["image"], folder, self.max_image_side)
        choices, labels = choices_of(fields.get("choices"))
        unread = "" if images else unread_pictures(fields)
        question, order = place(with_choices(question_of(fields, bool(images)), choices), range(len(images)), unread)
        file_size = sizes[order[0]] if order else None
        metadata = {
            field.removeprefix(METADATA): value for field, value in fields.items() if field.startswith(METADATA)
        }
        answer = fields.get("answer")
        if self.box_frame is None:
            reference = check_option(answer_text(letter_of(answer, labels), choices), choices)
            if answers := spellings(answer):
                metadata.setdefault("answers", answers)
        elif not images and ("image" in fields or self.box_frame in ("file", "processed")):
            raise MalformedExample(f"a box, but no picture that it could lie in{unread}")
        else:
            boxed = tagged(answer) if isinstance(answer, str) else answer
            write = boxes_text if self.several_boxes else box_text
            reference = write(boxed, self.box_order, self.box_frame, file_size)
        return Example(
            id=f"{row.table}/{key_of(fields.get('id'), row.key)}{row.part}",
            question=text(question, "question"),
            answer=reference,
            images=tuple(images[index] for index in order),
            target=None if is_blank(fields.get("target")) else text(fields["target"], "target"),
            choices=choices,
            box_frame=self.box_frame,
            file_size=file_size,
            metadata=metadata,
            where=row.where,
        )

    def _check_choice(self, parameter: str, allowed: Sequence[str], optional: bool = False) -> None:
        value = getattr(self, parameter)
        if value not in allowed and not (optional and value is None):
            raise ValueError(
                f"{self.title}: {parameter} must be one of {', '.join(allowed)}, not {value!r}"
                + did_you_mean(str(value), allowed)
            )

    def _check_positive(self, parameter: str) -> None:
        value = getattr(self, parameter)
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"{self.title}: {parameter} must be a whole number, at least 1, not {value!r}")


@dataclass(kw_only=True, eq=False)
class TableSource(RowSource):
    """A source over finite tables; each row is an example. What is common to all rows: see `RowSource`.

    Args:
        explode: a column that holds lists (several expressions for one box): one example for each value; or several columns
            whose lists run in parallel (the questions of a picture and their answers).
        limit: a coreset: only the first `limit` rows of a shuffle seeded by `seed`, the same ones in every epoch.
        seed: seeds the order, and which rows `limit` keeps; None: from that of the run, and 0 for what is held out.
    """

    explode: str | Sequence[str] | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_positive("limit")

    @abstractmethod
    def open_tables(self) -> list[NamedTable]:
        """The tables, in order; called once. Raises: ValueError: they cannot be opened."""

    def view(self, table: Table) -> Table:
        """What is used of one table: all of it, unless a source says otherwise."""
        return table

    @property
    def length(self) -> int:
        return len(self._rows)

    @property
    def is_open(self) -> bool:
        return "_rows" in self.__dict__

    def example(self, position: int) -> Example:
        rows = self._rows
        index = shuffled_row(position, len(rows), self.seed) if self.shuffle else position % len(rows)
        return self.build(rows.row(index))

    def check(self) -> None:
        super().check()
        self.check_tables()

    def wanted(self) -> dict[str, str]:
        return dict.fromkeys(self._exploded, "explode") | super().wanted()

    @property
    def _exploded(self) -> Sequence[str]:
        return [self.explode] if isinstance(self.explode, str) else self.explode or ()

    def check_tables(self) -> None:
        """The part of `check` that looks at the data. Opens the tables, looks for the columns and tries the first rows.

        To be overridden where opening means more than finding the rows: a download, or a copy.
        """
        len(self._rows)

    @functools.cached_property
    def _rows(self) -> Table:
        tables: list[Table] = []
        for table in filter(len, self.open_tables()):
            if table.columns:  # none where no line of a file is JSON, of which the probe will tell
                self.check_schema(table.columns, table.origin)
            narrow = table if self.columns is None else table.select(self.columns_of(table.columns))
            tables.append(self.view(Exploded(narrow, self._exploded) if self._exploded else narrow))
        rows: Table = Chained(tables)
        if self.limit is not None:
            rows = Sampled(rows, self.limit, self.seed)
        order = (shuffled_row(position, len(rows), self.seed) for position in range(min(PROBES, len(rows))))
        self.probe(functools.partial(rows.row, index) for index in order)
        return rows
