"""RECAP as its public code computes it, which is not what its paper says."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from registry import reweighting_policies
from registry.reweighting.base import ReweightingPolicy, SignalKind
from registry.reweighting.numerics import clamp, is_number, require, require_state, softmax

TINY = 1e-15  # the public code's
LARGEST_SIGNAL = 1e100
LARGEST_RATE = 1e200


@reweighting_policies.register("recap_released")
class RecapReleased(ReweightingPolicy):
    """Weights objectives as the public code of RECAP does, to the letter.

    With the signals of objective k that are known, at most 2W, the first left out of an odd number above 1: μ_old and μ_new
    the means of their halves, m and σ the mean and the population standard deviation of both halves:

        c_k = μ_old / (μ_new + 1e-15)    where the weight of a reward objective is asked for   (c = 1 before two signals)
        c_k = μ_new / (μ_old + 1e-15)    where that of a loss objective is
        i_k = σ / (m + 1e-15)
        λ   = K' · ( α softmax(c / T) + (1 - α) softmax(i / T) )

    K' is the number of objectives seen so far. Either branch takes its c for *every* objective, and of its λ only the
    weights of its own kind are used: the weights are therefore not of mean 1 in general. A rising reward has c < 1, a
    falling loss too. The value just measured counts for the weights of the step that measured it.

    Source: github.com/VietHoang1512/recap, `src/open_r1/trainers/mixed_trainer.py`, the implementation behind the numbers
    of arXiv 2510.21978; `recap` is the method of the text. For the rest of its reading: objectives per domain
    (`train.objective_scope = 'per_domain'`), weights on the rewards (`train.weights_act_on = 'reward'`) and one domain a
    step (`mixtures.alternate`), as in `experiments/paper/`.

    Differs: the public code adds its 1e-15 to the sums of the halves, which shows only where a mean is about that small.
    Where it would fail: NaN and inf are treated as absent; signals are cut to ±1e100 and rates to ±1e200; a
    denominator of exactly 0 counts as 1e-15. An objective not seen yet has λ = 1.

    Args:
        objectives: a mapping name -> ``'reward'`` or ``'loss'``; names alone mean losses.
        window: W >= 1; the history holds at most 2W signals.
        temperature: T > 0.
        alpha: α in [0, 1], or ``'annealed'``: α = 1 - t / steps at step t = 0, 1, 2, ...
        steps: of the run; for ``alpha='annealed'``.

    Raises:
        ValueError: a parameter out of its range, or an objective of signal kind ``'shortfall'``.
    """

    mean_one: ClassVar[bool] = False
    same_step: ClassVar[bool] = True

    def __init__(
        self,
        objectives: Iterable[str] | Mapping[str, SignalKind],
        window: int = 10,
        temperature: float = 5.0,
        alpha: float | Literal["annealed"] = 0.5,
        steps: int | None = None,
    ) -> None:
        super().__init__(objectives)
        for name, kind in self.signal_kinds.items():
            if kind == "shortfall":
                raise ValueError(
                    f"recap_released: objective {name!r} has signal kind 'shortfall', which the public code does not know:"
                    " set train.signal = 'reward'"
                )
        name = "recap_released"
        require(isinstance(window, int) and window >= 1, name, "window", "be an integer >= 1", window)
        require(is_number(temperature) and temperature > 0, name, "temperature", "be > 0", temperature)
        annealed = alpha == "annealed"
        require(annealed or (is_number(alpha) and 0 <= alpha <= 1), name, "alpha", "be in [0, 1] or 'annealed'", alpha)  # type: ignore[operator]
        if annealed:
            known = isinstance(steps, int) and steps >= 1
            require(known, name, "steps", "be the number of steps of the run, as alpha is 'annealed'", steps)
        self.window = window
        self.temperature = temperature
        self.alpha = alpha
        self.steps = steps
        self._history: dict[str, deque[float]] = {}  # in the order in which objectives were first seen
        self._updates = 0

    @property
    def warm_up(self) -> int:
        return 2

    def update(self, signals: Mapping[str, float]) -> None:
        self.check_known(signals)
        for name in self.objectives:
            if name in signals and math.isfinite(signals[name]):
                history = self._history.setdefault(name, deque(maxlen=2 * self.window))
                history.append(clamp(float(signals[name]), -LARGEST_SIGNAL, LARGEST_SIGNAL))
        self._updates += 1

    @property
    def weights(self) -> dict[str, float]:
        reward_branch, loss_branch = self._branch(rewards=True), self._branch(rewards=False)
        weights = dict.fromkeys(self.objectives, 1.0)
        for name in self._history:
            weights[name] = (loss_branch if self.signal_kinds[name] == "loss" else reward_branch)[name]
        return weights

    @property
    def diagnostics(self) -> dict[str, dict[str, float]]:
        """c, in the branch of each objective, and i."""
        return {
            "convergence": {
                name: _convergence(h, self.signal_kinds[name] != "loss") for name, h in self._history.items()
            },
            "instability": {name: _instability(history) for name, history in self._history.items()},
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "window": self.window,
            "signal_kinds": dict(self.signal_kinds),
            "history": {name: list(history) for name, history in self._history.items()},
            "updates": self._updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a saved state; temperature, alpha and steps are this policy's own.

        Raises:
            ValueError: the state is of other objectives, signal kinds or another window, or is not of this policy.
        """
        require_state("recap_released", state, ("window", "signal_kinds", "history", "updates"), self.signal_kinds)
        if state["window"] != self.window:
            raise ValueError(f"the state is of window {state['window']}, but this policy was built with {self.window}")
        self._history = {name: deque(values, maxlen=2 * self.window) for name, values in state["history"].items()}
        self._updates = state["updates"]

    def _branch(self, *, rewards: bool) -> dict[str, float]:
        """λ of every objective seen, as one branch of the public code computes it."""
        c = softmax({name: _convergence(history, rewards) for name, history in self._history.items()}, self.temperature)
        i = softmax({name: _instability(history) for name, history in self._history.items()}, self.temperature)
        alpha = self._alpha()
        return {name: len(self._history) * (alpha * c[name] + (1 - alpha) * i[name]) for name in self._history}

    def _alpha(self) -> float:
        if isinstance(self.alpha, str):
            assert self.steps is not None
            return max(0.0, 1 - max(self._updates - 1, 0) / self.steps)
        return self.alpha


def _convergence(history: Sequence[float], rewards: bool) -> float:
    if len(history) < 2:
        return 1.0
    values = _halves(history)
    half = len(values) // 2
    old, new = math.fsum(values[:half]) / half, math.fsum(values[half:]) / half
    return _quotient(old, new) if rewards else _quotient(new, old)


def _instability(history: Sequence[float]) -> float:
    values = _halves(history)
    mean = math.fsum(values) / len(values)
    sigma = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / len(values))
    return _quotient(sigma, mean)


def _halves(history: Sequence[float]) -> list[float]:
    """The history without the first of an odd number above 1."""
    values = list(history)
    return values[len(values) % 2 :] if len(values) > 1 else values


def _quotient(a: float, b: float) -> float:
    return clamp(a / (b + TINY or TINY), -LARGEST_RATE, LARGEST_RATE)
