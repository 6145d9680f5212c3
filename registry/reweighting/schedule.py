"""Schedule: weights as a function of the step."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from registry import reweighting_policies
from registry.core import near_matches
from registry.reweighting.base import ReweightingPolicy, SignalKind
from registry.reweighting.numerics import is_number, mean_one, require_state

Course = float | Sequence[Any]
"""A number, ``('linear', start, end, steps)``, ``('cosine', start, end, steps)`` or ``('steps', {0: a, 100: b})``."""

FORMS = "a number, ('linear', start, end, steps), ('cosine', start, end, steps) or ('steps', {0: a, 100: b})"


@reweighting_policies.register("schedule")
class Schedule(ReweightingPolicy):
    """Weights objectives by a course set by hand: constant, linear, cosine or step-wise.

        λ_k(t) = K · w_k(t) / Σ_j w_j(t)

        constant  w(t) = a
        linear    w(t) = a + (b - a) · min(t / n, 1)
        cosine    w(t) = a + (b - a) · (1 - cos(π · min(t / n, 1))) / 2
        steps     w(t) = the number bound to the last step that is not after t

    where t = 0, 1, 2, ... counts the updates of the model. In gin:

        reweighting.schedule.weights = {'accuracy': ('linear', 1.0, 2.0, 100), 'answer_format': ('steps', {0: 1.0, 50: 0.5})}

    Source: ours, after what users of TRL ask for (huggingface/trl, issue 3036). Only the ratios matter, as in `static`.

    Args:
        objectives: names, or a mapping name -> signal kind.
        weights: objective -> course, of numbers >= 0; an objective that is not mentioned has w = 1.

    Raises:
        ValueError: an unknown objective, or a course that is none of these forms.
    """

    def __init__(self, objectives: Iterable[str] | Mapping[str, SignalKind], weights: Mapping[str, Course]) -> None:
        super().__init__(objectives)
        for name in weights:
            if name not in self.signal_kinds:
                near = near_matches(name, self.objectives)
                hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(self.objectives)}"
                raise ValueError(f"schedule: weights names an unknown objective {name!r}; {hint}")
        self._courses = {name: _course(name, weights.get(name, 1.0)) for name in self.objectives}
        self._step = 0

    def update(self, signals: Mapping[str, float]) -> None:
        self.check_known(signals)
        self._step += 1

    @property
    def weights(self) -> dict[str, float]:
        """λ; 1 for all in a step at which every w is 0."""
        return mean_one({name: course(self._step) for name, course in self._courses.items()}, self.objectives)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        require_state("schedule", state, ("step",))
        self._step = state["step"]


def _course(name: str, value: Course) -> Callable[[int], float]:
    """The function of the step that a value stands for."""
    if _is_weight(value):
        return lambda _: float(value)  # type: ignore[arg-type]
    match value:
        case ["linear" | "cosine" as form, start, end, steps] if _is_weight(start) and _is_weight(end):
            if isinstance(steps, int) and steps >= 1:
                return lambda step: start + (end - start) * _progress(form, min(step / steps, 1.0))
        case ["steps", Mapping() as levels] if levels and all(map(_is_weight, levels.values())):
            starts = sorted(levels)
            if all(isinstance(step, int) for step in starts) and starts[0] == 0:
                return lambda step: float(levels[starts[bisect_right(starts, step) - 1]])
    raise ValueError(
        f"schedule: weights[{name!r}] is {value!r}: write {FORMS}, of weights >= 0, whole steps >= 1, and 0 the first of"
        " the steps"
    )


def _progress(form: str, fraction: float) -> float:
    return fraction if form == "linear" else (1 - math.cos(math.pi * fraction)) / 2


def _is_weight(value: object) -> bool:
    return is_number(value) and value >= 0  # type: ignore[operator]
