"""Requests as tasks for worker processes: each distinct one once, the completions of a prompt together where asked for."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from recap.rewards.requests import ScoreRequest, verifier_name
from recap.rewards.worker import Outcome, attempt
from registry.sendable import sendable
from registry.verifiers.base import GroupVerifier, Judge, Verifier, is_quick

Key = tuple[int, str, int, int]
"""A verifier, a completion, an example; and the request's number where equal ones are judged each in its turn."""


class Task(NamedTuple):
    """What a worker is given at a time.

    Attributes:
        keys: of the requests that it answers: one, or those of a group.
        packed: a pickled (verifier, completions, example, token ids).
    """

    keys: tuple[Key, ...]
    packed: bytes


@dataclass
class Plan:
    """Requests sorted into what is settled and what takes a worker.

    Attributes:
        keys: of the requests, in their order.
        outcomes: settled here.
        tasks: for worker processes.
        judges: the verifiers of the tasks.
    """

    keys: list[Key]
    outcomes: dict[Key, Outcome]
    tasks: list[Task]
    judges: list[Judge]


def plan(requests: Sequence[ScoreRequest]) -> Plan:
    """Settles what can be settled here, each distinct request once. Raises: ValueError: a request cannot be sent."""
    keys = [
        (id(request.verifier), request.completion, id(request.example), _turn(request, number))
        for number, request in enumerate(requests)
    ]
    outcomes: dict[Key, Outcome] = {}
    waiting: dict[tuple[int, ...], list[tuple[Key, ScoreRequest]]] = {}
    known: set[Key] = set()
    for key, request in zip(keys, requests, strict=True):
        if key in known:
            continue
        known.add(key)
        outcome = _judge_here(request)
        if outcome is not None:
            outcomes[key] = outcome
            continue
        grouped = isinstance(request.verifier, GroupVerifier)
        together = (key[0], key[2]) if grouped else (len(known), -1, -1)
        waiting.setdefault(together, []).append((key, request))
    tasks = [
        Task(tuple(key for key, _ in group), _packed([request for _, request in group])) for group in waiting.values()
    ]
    judges = {id(group[0][1].verifier): group[0][1].verifier for group in waiting.values()}
    return Plan(keys, outcomes, tasks, list(judges.values()))


def packed_judge(judge: Judge) -> bytes | None:
    """A verifier for `start_worker`, where one that does not know it yet might need longer than the time limit allows.

    It has something to load, or its module is neither ours nor a plugin's, which workers have loaded.
    """
    loads = isinstance(judge, Verifier) and type(judge).prepare is not Verifier.prepare
    known = str(getattr(judge, "__module__", "")).startswith(("registry.", "recap_plugin_"))
    return pickle.dumps(sendable(judge)) if loads or not known else None


def _turn(request: ScoreRequest, number: int) -> int:
    """A group keeps its equal completions: how many there are may be what it is judged by."""
    return number if isinstance(request.verifier, GroupVerifier) else -1


def _judge_here(request: ScoreRequest) -> Outcome | None:
    """The outcome, where it takes no worker process."""
    verifier, completion, example, _ = request
    if isinstance(verifier, Verifier):
        settled = attempt(verifier.shortcut, completion, example)
        if settled is not None:
            return settled._replace(shortcut=settled.error is None)
    return attempt(verifier, completion, example) if is_quick(verifier) else None


def _packed(group: Sequence[ScoreRequest]) -> bytes:
    """Requests as bytes: what cannot be unpacked in a worker is then a fault like any other, not the end of it."""
    verifier, example = group[0].verifier, group[0].example
    completions = [request.completion for request in group]
    ids = [request.token_ids for request in group]
    try:
        return pickle.dumps((sendable(verifier), completions, example.without_images(), None if None in ids else ids))
    except Exception as error:
        raise ValueError(
            f"verifier {verifier_name(verifier)!r} or example {example.id!r} cannot be sent to a worker process: {error}."
            " Define the verifier at the top of its file, and keep plain values in the metadata; or, if the verifier never"
            f" takes more than milliseconds, say so: {_quick_example(verifier)}"
        ) from error


def _quick_example(verifier: Judge) -> str:
    if isinstance(verifier, Verifier):
        return "quick = True in its class"
    return f"{getattr(verifier, '__name__', 'function')}.quick = True"
