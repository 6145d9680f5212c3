"""How long the phases of a step take."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


class Phases:
    """Seconds by phase, from the moment it is made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, phase: str, seconds: float) -> None:
        self._seconds[phase] += seconds

    def metrics(self, tokens: float) -> dict[str, float]:
        """Seconds of the step and of its phases, and tokens per second; what no other phase claims is the update's."""
        step = time.perf_counter() - self._started
        rollout, verify = self._seconds["rollout"], self._seconds["verify"]
        return {
            "step_seconds": step,
            "rollout_seconds": rollout,
            "verify_seconds": verify,
            "update_seconds": step - rollout - verify,
            "tokens_per_second": tokens / step,
        }


@contextmanager
def timing(phases: Phases, phase: str) -> Iterator[None]:
    """Adds what its block takes to a phase."""
    started = time.perf_counter()
    try:
        yield
    finally:
        phases.add(phase, time.perf_counter() - started)


def timed(phase: str) -> Callable[[Method], Method]:
    """Adds what a method takes to a phase of its object's `phases`."""

    def decorate(method: Method) -> Method:
        @functools.wraps(method)
        def measured(self: Any, *given: Any, **named: Any) -> Any:
            with timing(self.phases, phase):
                return method(self, *given, **named)

        return measured  # type: ignore[return-value]

    return decorate
