"""Arithmetic that several reweighting policies share, made safe for zeros, negative numbers and huge ones."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from registry.reweighting.base import SignalKind

MAX_RATE = 10.0
"""Ratios of losses are kept in [0, MAX_RATE], so that dividing by a mean near zero cannot dominate."""

LARGEST_RATE = sys.float_info.max / 2
"""Where no limit is set, ratios are kept in [-LARGEST_RATE, LARGEST_RATE]: finite, and so is the sum of two."""


def ratio(a: float, b: float, limit: float | None = MAX_RATE) -> float:
    """a / b where b > 0, continued to b <= 0 so that it stays > 1 exactly where a > b; in [0, limit].

    Without a limit it is cut at neither end, but b = 0, where it would be infinite, keeps the answer of MAX_RATE.
    """
    if limit is None and b == 0:
        limit = MAX_RATE
    low, high = (-LARGEST_RATE, LARGEST_RATE) if limit is None else (0.0, min(limit, LARGEST_RATE))
    if b > 0:
        return clamp(a / b, low, high)
    if b < 0:
        return clamp(2 - a / b, low, high)  # 1 + (a - b) / |b|
    return clamp(1.0 if a == 0 else math.copysign(math.inf, a), low, high)  # the limits of both branches


def clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def softmax(scores: Mapping[str, float], temperature: float = 1.0) -> dict[str, float]:
    """exp(s / T) / Σ exp(s / T) of finite scores; {} of none."""
    if not scores:
        return {}
    largest = max(scores.values())  # subtracted, so that exp cannot overflow
    exponentials = {name: math.exp((score - largest) / temperature) for name, score in scores.items()}
    total = math.fsum(exponentials.values())
    return {name: value / total for name, value in exponentials.items()}


def mean_one(raw: Mapping[str, float], objectives: Iterable[str]) -> dict[str, float]:
    """Weights of mean 1: raw numbers >= 0 share what is theirs in proportion; objectives without one get 1."""
    weights = dict.fromkeys(objectives, 1.0)
    largest = max(raw.values(), default=0.0)
    if largest > 0:
        share = {name: value / largest for name, value in raw.items()}  # in [0, 1]: the sum cannot overflow
        total = math.fsum(share.values())
        weights.update({name: len(share) * value / total for name, value in share.items()})
    return weights


def finite_losses(signals: Mapping[str, float], kinds: Mapping[str, SignalKind]) -> dict[str, float]:
    """Signals as losses, lower is better: a reward r counts as its shortfall 1 - r. NaN and inf are left out."""
    return {
        name: 1.0 - value if kinds[name] == "reward" else float(value)
        for name, value in signals.items()
        if math.isfinite(value)
    }


def require(holds: bool, policy: str, parameter: str, rule: str, value: object) -> None:
    """Raises ValueError, naming policy and parameter, unless a rule holds."""
    if not holds:
        raise ValueError(f"{policy}: {parameter} must {rule}, got {value!r}")


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def require_state(
    policy: str, state: Mapping[str, Any], expected: Iterable[str], kinds: Mapping[str, SignalKind] | None = None
) -> None:
    """Raises ValueError unless a saved state has the expected entries and, if given, was of these signal kinds."""
    if set(state) != set(expected):
        raise ValueError(f"not a state of {policy}: it holds {sorted(state)}, not {sorted(expected)}")
    if kinds is not None and state["signal_kinds"] != kinds:
        raise ValueError(
            f"the state is of objectives {state['signal_kinds']}, but this policy was built with {dict(kinds)}"
        )


class Adam:
    """Adam (arXiv 1412.6980) on a few named floats, for policies that learn their weights.

    Args:
        names: of the parameters.
        learning_rate: > 0.
        weight_decay: added to the gradient as weight_decay · parameter.
    """

    BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

    def __init__(self, names: Sequence[str], learning_rate: float, weight_decay: float = 0.0) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.moments: dict[str, list[float]] = {name: [0.0, 0.0, 0.0] for name in names}  # m, v, steps

    def step(self, parameter: float, gradient: float, name: str) -> float:
        """The parameter after one step; each name counts steps of its own, so that absences do no harm."""
        gradient = clamp(gradient + self.weight_decay * parameter, -1e150, 1e150)  # its square must not overflow
        m, v, steps = self.moments[name]
        m = self.BETA1 * m + (1 - self.BETA1) * gradient
        v = self.BETA2 * v + (1 - self.BETA2) * gradient * gradient
        steps += 1
        self.moments[name] = [m, v, steps]
        m_hat, v_hat = m / (1 - self.BETA1**steps), v / (1 - self.BETA2**steps)
        return float(parameter - self.learning_rate * m_hat / (math.sqrt(v_hat) + self.EPSILON))

    def state_dict(self) -> dict[str, Any]:
        return {name: list(moments) for name, moments in self.moments.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.moments = {name: list(state[name]) for name in self.moments}
