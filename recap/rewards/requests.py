"""What verifiers are asked, and what came of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from registry import verifiers
from registry.example import Example
from registry.verifiers.base import Judge


class ScoreRequest(NamedTuple):
    """One completion for one verifier.

    Attributes:
        token_ids: of the completion, up to and including the end token; only a `GroupVerifier` asks for them.
    """

    verifier: Judge
    completion: str
    example: Example
    token_ids: tuple[int, ...] | None = None


class Fault(NamedTuple):
    """Why a verifier gave no reward."""

    verifier: str
    error: str
    example_id: str


@dataclass
class ScoreResult:
    """Rewards of one call.

    Attributes:
        rewards: in the order of the requests; None where a verifier does not apply, 0 where it failed. One that is not
            finite is passed on as it is.
        errors: why, by the number of the request, where a verifier failed or ran past the time limit.
        faults: requests that a verifier failed on, by its name: it raised, or its process died.
        timeouts: requests that ran past the time limit, by the verifier's name.
        first_faults: some of the faults, for the log.
    """

    rewards: list[float | None]
    errors: dict[int, str]
    faults: Counter[str] = field(default_factory=Counter)
    timeouts: Counter[str] = field(default_factory=Counter)
    first_faults: list[Fault] = field(default_factory=list)


def verifier_name(verifier: Judge) -> str:
    """The name it is registered under, else that of its class or function."""
    for entry in verifiers.entries():
        if entry.original in (type(verifier), verifier) or entry.target is verifier:
            return entry.name
    return str(getattr(verifier, "__name__", type(verifier).__name__))
