"""Finds parts that keep a state and do not save it: what they save is loaded into a twin, which must do as they do."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

from recap.data.domains import Domain
from recap.experiment.experiment import Experiment
from recap.runs.random_state import random_states_kept
from registry.replay.base import ReplaySource
from registry.reweighting.base import ReweightingPolicy

PROBES = 3  # updates, or examples, that a part and its twin are compared over


def through_json(state: Any, owner: str) -> Any:
    """A state as a checkpoint gives it back.

    Raises:
        ValueError: it holds what JSON cannot.
    """
    try:
        return json.loads(json.dumps(state))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{owner}.state_dict gives what a checkpoint cannot hold ({error}): give numbers, texts, lists and dicts"
        ) from error


class UnsavedState:
    """Looks for states that are not saved; made before the first step, and asked on one process.

    Sources that draw as those of this package do are not asked: they are held to `registry.testing`, and may be large.

    Raises:
        ValueError: a state that a checkpoint could not hold.
    """

    def __init__(self, experiment: Experiment, policy: ReweightingPolicy, domains: Sequence[Domain]) -> None:
        self.policy = policy
        self.build_policy = experiment.build_reweighting
        self.domains = [domain for domain in domains if _draws_in_its_own_way(domain.source)]
        self.fresh = {domain.name: _copied(domain.source) for domain in self.domains}
        through_json(policy.state_dict(), type(policy).__name__)
        for domain in self.domains:
            through_json(domain.source.state_dict(), type(domain.source).__name__)

    def found(self) -> list[str]:
        """A line for each part that a resumed run would not go on with as it is, with what to implement."""
        lines = []
        with random_states_kept():
            if _differs(self.policy, self._twin_policy, _course_of_policy):
                lines.append(
                    f"the reweighting policy {type(self.policy).__name__} keeps a state that it does not save, and a resumed"
                    " run would start it afresh: implement state_dict and load_state_dict"
                )
            for domain in self.domains:
                if self.fresh[domain.name] is None:
                    continue
                if _differs(domain.source, functools.partial(self._twin_source, domain), _course_of_source):
                    lines.append(
                        f"the source {type(domain.source).__name__} of {domain.name} keeps a state that it does not save, and"
                        " a resumed run would draw other examples: implement state_dict and load_state_dict, or make"
                        " example(position) depend on its position alone"
                    )
        return lines

    def _twin_policy(self) -> ReweightingPolicy:
        twin = self.build_policy()
        twin.load_state_dict(through_json(self.policy.state_dict(), type(self.policy).__name__))
        return twin

    def _twin_source(self, domain: Domain) -> ReplaySource:
        twin: ReplaySource = copy.deepcopy(self.fresh[domain.name])
        twin.load_state_dict(through_json(domain.source.state_dict(), type(domain.source).__name__))
        return twin


def _draws_in_its_own_way(source: ReplaySource) -> bool:
    """Whether it, or a source within it, does."""
    drawing = (type(source).example, type(source).take)
    parts = [part for value in vars(source).values() for part in (value if isinstance(value, tuple) else (value,))]
    return not all(method.__module__.startswith("registry.") for method in drawing) or any(
        _draws_in_its_own_way(part) for part in parts if isinstance(part, ReplaySource)
    )


def _copied(part: Any) -> Any:
    """None of what cannot be copied."""
    try:
        return copy.deepcopy(part)
    except Exception:
        return None


def _differs(part: Any, make_twin: Callable[[], Any], course: Callable[[Any], Any]) -> bool:
    """Whether a twin does something else; False where that cannot be told, as of a part that no two copies agree on."""
    try:
        expected = course(copy.deepcopy(part))
        if expected != course(copy.deepcopy(part)):
            return False
    except Exception:
        return False
    try:
        return bool(course(make_twin()) != expected)
    except Exception:  # it cannot load what it saved
        return True


def _course_of_policy(policy: ReweightingPolicy) -> list[Any]:
    """Weights now and after made-up signals, which differ between objectives and from step to step."""
    course: list[Any] = [(dict(policy.weights), policy.diagnostics, policy.kl_coefficient)]
    for probe in range(PROBES):
        signals = {name: ((probe + 1) * (k + 1) * 0.37) % 1.0 for k, name in enumerate(policy.objectives)}
        if policy.needs_gradient_norms:
            policy.observe_gradient_norms(signals)
        policy.update(signals)
        course.append((dict(policy.weights), policy.diagnostics, policy.kl_coefficient))
    return course


def _course_of_source(source: ReplaySource) -> list[Any]:
    return [*source.take(PROBES)]
