"""What is particular to the rows of a data set: converters, fields -> fields, that a gin file may call by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from registry.answer_places import find_answer
from registry.example import MalformedExample
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
    """One question and one answer: ``[{'from': 'human', 'value': ...}, {'from': 'gpt', 'value': ...}]``.

    Where the answer comes with its reasoning, in ``<answer>`` tags after it, the whole turn is the target.
    """
    turns = fields["conversations"]
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise MalformedExample("conversations is not a list of turns {from, value}")
    speakers = [turn.get("from") for turn in turns]
    if speakers != ["human", "gpt"]:
        raise MalformedExample(
            f"conversations has the turns {', '.join(map(str, speakers)) or '(none)'}, not human, gpt"
        )
    reply = turns[1].get("value")
    new = {"question": turns[0].get("value"), "answer": reply}
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

    The question is the last turn of the user; other turns than one of a system before it are refused.
    """
    turns, rewarded = fields["prompt"], fields["reward_model"]
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise MalformedExample("prompt is not a list of turns {role, content}")
    roles = [str(turn.get("role")) for turn in turns]
    if roles not in (["user"], ["system", "user"]):
        raise MalformedExample(f"prompt has the turns {', '.join(roles) or '(none)'}, not user alone or after system")
    if not isinstance(rewarded, Mapping):
        raise MalformedExample("reward_model is not {ground_truth: ...}")
    found = {"question": turns[-1].get("content"), "answer": rewarded.get("ground_truth")}
    if fields.get("images") is not None:
        found["image"] = fields["images"]
    return {**fields, **found}


CONVERTERS = {
    "plain": BuiltIn(plain, ("question", "answer")),
    "choice_index": BuiltIn(choice_index, ("question", "answer", "choices")),
    "conversations": BuiltIn(conversations, ("conversations",)),
    "worked_solution": BuiltIn(worked_solution, ("question", "answer")),
    "verl": BuiltIn(verl, ("prompt", "reward_model")),
}
