"""What RECAP knows of one objective's recent signals: an older mean, a newer mean and a spread, over windows or faded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

Averages = Literal["windows", "exponential"]
Spread = Literal["current_mean", "window_mean"]

REMEMBERED = 10
"""Windows that faded averages look back: older signals have 0.1 % of the weight of the slowest of them."""


class Recent(NamedTuple):
    """μ̃, μ and σ, in the unit of the history."""

    older: float
    newer: float
    sigma: float


def recent(history: Sequence[float], window: int, spread: Spread, averages: Averages) -> Recent:
    """Of a history of 2W signals or more, oldest first."""
    if averages == "windows":
        return _windows(history[-2 * window :], window, spread)
    return _faded(history, window, spread)


def _windows(history: Sequence[float], window: int, spread: Spread) -> Recent:
    """Of the last 2W signals: the mean of the first half, that of the second, and the deviation from one or from all."""
    older = math.fsum(history[:window]) / window
    newer = math.fsum(history[window:]) / window
    center = newer if spread == "current_mean" else math.fsum(history) / len(history)
    sigma = math.sqrt(math.fsum((x - center) ** 2 for x in history) / (len(history) - 1))
    return Recent(older, newer, sigma)


def _faded(history: Sequence[float], window: int, spread: Spread) -> Recent:
    """Exponential averages, each of the mean age of the window whose place it takes.

    A signal of age j has the weight (1 - a)^j, so that the mean age is (1 - a) / a. The newer window has the mean age
    (W - 1) / 2, the older one (3W - 1) / 2, both together (2W - 1) / 2: a = 2 / (W + 1), 2 / (3W + 1), 2 / (2W + 1).
    σ² = Σ w (x - m)² / (1 - Σ w²), with weights w of sum 1: for equal weights the division by n - 1.
    """
    newer = _dot(_fading(window, len(history)), history)
    older = _dot(_fading(3 * window, len(history)), history)
    weights = _fading(2 * window, len(history))
    center = newer if spread == "current_mean" else _dot(weights, history)
    variance = _dot(weights, [(x - center) ** 2 for x in history]) / (1 - math.fsum(w * w for w in weights))
    return Recent(older, newer, math.sqrt(variance))


def _fading(span: int, length: int) -> list[float]:
    """Weights of sum 1, oldest first, of decay 1 - 2 / (span + 1)."""
    decay = 1 - 2 / (span + 1)
    raw = [decay**age for age in reversed(range(length))]
    total = math.fsum(raw)
    return [weight / total for weight in raw]


def _dot(weights: Sequence[float], values: Sequence[float]) -> float:
    return math.fsum(weight * value for weight, value in zip(weights, values, strict=True))


def in_unit_of_largest(history: Sequence[float]) -> list[float]:
    """The history, scaled into [-1, 1] by a power of two.

    c and i do not depend on the unit of the signals, and a power of two changes no digit; sums and squares of any
    finite signals then neither overflow nor vanish.
    """
    exponent = math.frexp(max(map(abs, history)))[1]
    return [math.ldexp(x, -exponent) for x in history]
