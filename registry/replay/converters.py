"""What is particular to the rows of a data set: converters, fields -> fields, that a gin file may call by name."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from registry.answer_places import find_answer
from registry.example import MalformedExample
from registry.replay.turns import asked, only, turns_of
from registry.replay.written import ClassName

Fields = Mapping[str, Any]
Converter = Callable[[Fields], Fields]


class BuiltIn(NamedTuple):
    """A converter that a gin file may call by name."""

    function: Converter
    reads: tuple[str, ...]  # fields that it cannot do without


def plain(fields: Fields) -> Fields:
    """The fields as they are."""
    return fields


def choice_index(fields: Fields) -> Fields:
    """The answer is the number of the right choice, from 0, written as text: ``'2'`` for C. A number needs no help."""
    answer = fields["answer"]
    if isinstance(answer, ClassName):
        answer = answer.number
    try:
        index = float("nan") if isinstance(answer, bool) else float(answer)
    except (TypeError, ValueError, OverflowError):
        index = float("nan")
    if not index.is_integer():  # 2.0 is an integer: a column with a null became one of floats
        raise MalformedExample(f"answer {answer!r} is not the number of a choice")
    return {**fields, "answer": int(index)}


def conversations(fields: Fields) -> Fields:
    """One question and one answer, as turns of a chat (`registry.replay.turns`); a system's turn in front is passed over.

    Where the answer comes with its reasoning, in ``<answer>`` tags after it, the whole turn is the target.
    """
    turns = only(turns_of(fields["conversations"], "conversations"), ["user", "assistant"], "conversations")
    reply = turns[1].content
    new = {"question": turns[0].content, "answer": reply, **_pictures(fields)}
    if isinstance(reply, str) and "<answer>" in reply and not reply.lstrip().startswith("<answer>"):
        new["target"] = reply
    return {**fields, **new}


def worked_solution(fields: Fields) -> Fields:
    """The answer is a worked solution, its result behind the last ``####`` (GSM8K) or in a ``\\boxed{}`` (MATH).

    The result is the reference, the whole is the target.
    """
    solution = fields["answer"]
    if not isinstance(solution, str):
        raise MalformedExample(f"answer is of type {type(solution).__name__}, not a worked solution")
    found = find_answer(solution, ("after:####", "boxed"))
    if found is None or not found.strip():
        raise MalformedExample(f"answer {solution[-80:]!r} is a worked solution without result behind #### or in a box")
    return {"target": solution, **fields, "answer": found}


def verl(fields: Fields) -> Fields:
    """As verl writes it: ``prompt`` is a chat, ``reward_model`` has the ``ground_truth``; images stand in ``images``.

    The question is the turn of the user; other turns than one of a system before it are refused. What a reward function of
    verl's is given (``data_source``, ``extra_info``, ``reward_model``) is kept as metadata where it is read.
    """
    rewarded = fields["reward_model"]
    if isinstance(rewarded, str):
        with contextlib.suppress(ValueError, RecursionError):
            rewarded = json.loads(rewarded)
    if not isinstance(rewarded, Mapping):
        raise MalformedExample("reward_model is not {ground_truth: ...}")
    kept = {"data_source": fields.get("data_source"), "extra_info": fields.get("extra_info"), "reward_model": rewarded}
    metadata = {f"metadata.{name}": value for name, value in kept.items() if value is not None}
    found = {"question": asked(fields["prompt"], "prompt"), "answer": rewarded.get("ground_truth")}
    return {**metadata, **fields, **found, **_pictures(fields)}


def _pictures(fields: Fields) -> Fields:
    """The field image of a row that has its pictures in `images`, as tables of chats do."""
    return {"image": fields["images"]} if fields.get("image") is None and fields.get("images") is not None else {}


CONVERTERS = {
    "plain": BuiltIn(plain, ("question", "answer")),
    "choice_index": BuiltIn(choice_index, ("question", "answer", "choices")),
    "conversations": BuiltIn(conversations, ("conversations",)),
    "worked_solution": BuiltIn(worked_solution, ("question", "answer")),
    "verl": BuiltIn(verl, ("prompt", "reward_model")),
}
