"""The options of a multiple-choice question, in the forms in which tables hold them.

["newt", "bat"]   ["A. newt", "B. bat"]                           a list, lettered or not
'["newt", "bat"]'   "['newt', 'bat']"                             text of JSON, or of a Python list (MMMU)
{"A": "newt", "B": "bat"}                                         by letter, or by number
{"label": ["A", "B"], "text": ["newt", "bat"]}                    with labels (ARC), also ("1", "2"): the answer is one of them
[{"label": "A", "text": "newt"}, {"label": "B", "text": "bat"}]

Empty ones at the end are none, as in columns that other rows fill.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from registry.example import MalformedExample
from registry.replay.texts import is_blank, text

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_SIDE_BY_SIDE = re.compile(r"""(?<=[\w.)'"])(['"])\s+(['"])(?=\S)""")


def choices_of(value: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The choices, and what the row calls them, A, B, ... unless it says otherwise; none where there is nothing.

    >>> choices_of("['2 cm', '3 cm']"), choices_of({"label": ["1", "2"], "text": ["newt", "bat"]})
    ((('2 cm', '3 cm'), ('A', 'B')), (('newt', 'bat'), ('1', '2')))

    Raises:
        MalformedExample: none of the forms above, a gap among the choices, or more of them than letters.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if is_blank(value):
        return (), ()
    if isinstance(value, str):
        value = _parsed(value.strip())
    labels, listed = _labelled(value)
    while listed and is_blank(listed[-1]) and listed[-1] != "nan":  # which may be an option of a question about code
        listed = listed[:-1]
    if len(listed) > len(LETTERS):
        raise MalformedExample(f"choices has {len(listed)} entries: more than there are letters")
    return _unlettered([text(choice, "a choice") for choice in listed]), tuple(labels or LETTERS)[: len(listed)]


def letter_of(answer: Any, labels: Sequence[str]) -> Any:
    """The letter of the choice with that label; the answer as it is where it is none.

    >>> letter_of("2", ("1", "2")), letter_of(2, ("1", "2")), letter_of("two", ("1", "2"))
    ('B', 'B', 'two')
    """
    spelt = str(answer).strip() if isinstance(answer, str | int) and not isinstance(answer, bool) else ""
    return LETTERS[labels.index(spelt)] if spelt in labels else answer


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


def _parsed(written: str) -> Any:
    """What a text says: JSON, or Python where it is none."""
    try:
        return json.loads(written)
    except (ValueError, RecursionError):
        pass
    if _SIDE_BY_SIDE.search(written):  # as numpy prints a list of texts: Python would join them
        raise MalformedExample(f"choices {written[:80]!r} is a list without commas: write it as JSON")
    try:
        return ast.literal_eval(written)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise MalformedExample(f"choices {written[:80]!r} is not a Python list") from error


def _labelled(value: Any) -> tuple[list[str], Sequence[Any]]:
    """The labels, [] where there are none, and the choices. Raises: MalformedExample: of another form."""
    if isinstance(value, list | tuple) and value and all(isinstance(item, Mapping) for item in value):
        value = {name: [item.get(name) for item in value] for name in ("label", "text")}
    if value is None or (isinstance(value, Mapping) and all(is_blank(held) for held in value.values())):
        return [], ()
    if isinstance(value, Mapping) and value.keys() >= {"label", "text"}:
        labels, choices = value["label"], value["text"]
        if not isinstance(labels, list | tuple) or not isinstance(choices, list | tuple) or len(labels) != len(choices):
            raise MalformedExample(f"choices {str(dict(value))[:80]} has not as many labels as texts")
        return [text(label, "the label of a choice") for label in labels], choices
    if isinstance(value, Mapping):
        by_label = {str(key).strip(" ().:").upper(): choice for key, choice in value.items()}
        for start in ("A", "0", "1"):
            labels = [chr(ord("A") + i) if start == "A" else str(int(start) + i) for i in range(len(value))]
            if by_label.keys() == set(labels):
                return labels, [by_label[label] for label in labels]
        raise MalformedExample(
            f"choices has the keys {', '.join(map(str, value))[:80]}, not A, B, ... or label and text"
        )
    if not isinstance(value, list | tuple):
        raise MalformedExample(f"choices is of type {type(value).__name__}, not a list")
    return [], value


def _unlettered(choices: Sequence[str]) -> tuple[str, ...]:
    """Without "A. ", "B. ", ... where all have them: the letters come with the question."""
    lettered = [
        re.fullmatch(rf"\(?{letter}[).:] ?(\S.*)", choice, re.DOTALL)
        for letter, choice in zip(LETTERS, choices, strict=False)
    ]
    return tuple(match[1] for match in lettered if match) if all(lettered) else tuple(choices)
