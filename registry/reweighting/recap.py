"""RECAP: weights from the convergence and the instability of each objective's recent signals."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from registry import reweighting_policies
from registry.reweighting.averages import REMEMBERED, Averages, Spread, in_unit_of_largest, recent
from registry.reweighting.base import ReweightingPolicy, SignalKind
from registry.reweighting.numerics import MAX_RATE, is_number, mean_one, ratio, require, require_state, softmax


class Rates(NamedTuple):
    """What is known of one objective with a full history."""

    convergence: float  # c
    instability: float  # i
    score: float  # s


@reweighting_policies.register("recap")
class Recap(ReweightingPolicy):
    """Weights objectives by convergence and instability of their recent signals.

    Source: RECAP (arXiv 2510.21978v2), Section 3 and Algorithms 1 and 2. With K objectives and the last 2W signals of
    each, μ the mean of the newer W and μ̃ the mean of the older W:

        c = μ̃ / μ   (loss, shortfall)      c = μ / μ̃   (reward)           convergence rate, > 1 while improving
        σ = sqrt( Σ over 2W of (x - m)² / (2W - 1) )                       m = μ, or the mean of all 2W
        i = σ / (μ + μ̃)                                                    instability
        s = c + i,   or   α c + (1 - α) i                                  score
        λ = K · softmax(s / T)                                             weights, of mean 1

    λ is 1 until the history is full. Fed with losses, `spread="window_mean"` and `rate_limit=None`, this is Algorithm 2
    to the letter wherever both means are > 0; `spread="current_mean"` is the formula of the text and of Algorithm 1. The
    paper's v1 has the inverse c (`convergence="v1"`, > 1 while worsening); its σ, over the newer window alone, is not
    offered.

    Ours, and on by default: c and i are cut to [0, 10], so that a mean near 0 cannot give one objective everything; s
    lies in [0, 20]. Over signals > 0, c meets that bound only when a mean changes tenfold between the windows, and i stays
    below 1 + sqrt(W / 2).

    Ours, and off by default: a floor f, λ' = f + (1 - f) λ, and smoothing β, `λ'_t = β λ'_(t-1) + (1 - β) λ_t` from `λ'_0 = 1`
    (then the floor). Both keep the mean at 1. `averages="exponential"` puts an exponential average of the same mean age in
    the place of each window (`registry.reweighting.averages`); λ leaves 1 at the same step. α = 1 is c alone, α = 0 i alone.

    Where the paper is silent:
        - Histories of different length: each objective keeps λ = 1 until its own history is full; the full ones share
          their part among themselves, λ = (number of full ones) · softmax(s / T). The mean is 1 throughout.
        - Absent objective: its history does not advance, and its score stays.
        - NaN or inf: counted (`ignored` in the diagnostics) and otherwise treated as absent.
        - Denominator of c negative: c = 1 + (a - b) / |b| for c = a / b, the same number for b > 0, so that c > 1 still
          means improving. Denominator 0: the limits of both, c = 10 for a > 0 and c = 0 for a < 0. Both means 0: c = 1.
        - Means of i negative: i = σ / (|μ| + |μ̃|), the same number for means > 0. All signals 0: i = 0;
          both means 0 though the signals vary: i = 10.
        - Another bound (`rate_limit`): it takes the place of 10 throughout. None: c and i are not cut, so c can be < 0
          where a mean is. A denominator that is 0, or vanishes beside the largest signal (1e-323 of it), still gives
          the 10, 0 or 1 above. A ratio that overflows counts as half the largest float, so that s stays finite;
          objectives of equal s have equal weights.

    At T = 5 ordinary signals leave λ within some per cent of 1: look at the spread of the logged weights before
    crediting them with anything. α = 0.5 halves s, so (α = 0.5, T = 5) gives the weights of (s = c + i, T = 10).

    Args:
        objectives: names, or a mapping name -> signal kind. Names alone mean losses.
        window: W >= 1; the history holds 2W signals.
        temperature: T > 0; the higher, the flatter the weights.
        alpha: α in [0, 1], or None for s = c + i.
        convergence: "v2" or "v1".
        spread: what σ is taken around: the mean of the newer W signals, or the mean of all 2W.
        floor: f in [0, 1), the least weight that an objective can get.
        smoothing: β in [0, 1), the share of the old weights at every update.
        rate_limit: the upper bound of c and i, > 0; None: they are not cut.
        averages: "windows", or "exponential": averages that fade in their place.

    Raises:
        ValueError: a parameter out of its range.
    """

    def __init__(
        self,
        objectives: Iterable[str] | Mapping[str, SignalKind],
        window: int = 10,
        temperature: float = 5.0,
        alpha: float | None = None,
        convergence: Literal["v2", "v1"] = "v2",
        spread: Spread = "current_mean",
        floor: float = 0.0,
        smoothing: float = 0.0,
        rate_limit: float | None = MAX_RATE,
        averages: Averages = "windows",
    ) -> None:
        super().__init__(objectives)
        rules = {
            "window": (isinstance(window, int) and window >= 1, "be an integer >= 1", window),
            "temperature": (is_number(temperature) and temperature > 0, "be a finite number > 0", temperature),
            "alpha": (alpha is None or (is_number(alpha) and 0 <= alpha <= 1), "be None or in [0, 1]", alpha),
            "convergence": (convergence in ("v2", "v1"), "be 'v2' or 'v1'", convergence),
            "spread": (spread in ("current_mean", "window_mean"), "be 'current_mean' or 'window_mean'", spread),
            "floor": (is_number(floor) and 0 <= floor < 1, "be in [0, 1)", floor),
            "smoothing": (is_number(smoothing) and 0 <= smoothing < 1, "be in [0, 1)", smoothing),
            "rate_limit": (
                rate_limit is None or (is_number(rate_limit) and rate_limit > 0),
                "be None or a finite number > 0",
                rate_limit,
            ),
            "averages": (averages in ("windows", "exponential"), "be 'windows' or 'exponential'", averages),
        }
        for parameter, (holds, rule, value) in rules.items():
            require(holds, "recap", parameter, rule, value)
        self.window = window
        self.temperature = temperature
        self.alpha = alpha
        self.convergence = convergence
        self.spread = spread
        self.floor = floor
        self.smoothing = smoothing
        self.rate_limit = rate_limit
        self.averages = averages
        self._kept = (2 if averages == "windows" else REMEMBERED) * window
        self._history: dict[str, deque[float]] = {name: deque(maxlen=self._kept) for name in self.objectives}
        self._ignored: Counter[str] = Counter()
        self._smoothed = dict.fromkeys(self.objectives, 1.0)

    @property
    def warm_up(self) -> int:
        return 2 * self.window

    def update(self, signals: Mapping[str, float]) -> None:
        """Adds the signals of one optimizer step to the histories of the objectives present in it."""
        self.check_known(signals)
        for name, value in signals.items():
            if math.isfinite(value):
                self._history[name].append(float(value))
            else:
                self._ignored[name] += 1
        if self.smoothing:
            for name, weight in self._softmax_weights().items():
                self._smoothed[name] += (1 - self.smoothing) * (weight - self._smoothed[name])

    @property
    def weights(self) -> dict[str, float]:
        lam = dict(self._smoothed) if self.smoothing else self._softmax_weights()
        return {name: self.floor + (1 - self.floor) * weight for name, weight in lam.items()} if self.floor else lam

    @property
    def diagnostics(self) -> dict[str, dict[str, float]]:
        """Convergence c, instability i and score s of each objective with a full history; signals ignored so far."""
        rates = self._rates()
        return {
            "convergence": {name: rate.convergence for name, rate in rates.items()},
            "instability": {name: rate.instability for name, rate in rates.items()},
            "score": {name: rate.score for name, rate in rates.items()},
            "ignored": {name: float(self._ignored[name]) for name in self.objectives if self._ignored[name]},
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "window": self.window,
            "signal_kinds": dict(self.signal_kinds),
            "history": {name: list(history) for name, history in self._history.items()},
            "ignored": dict(self._ignored),
            "smoothed": dict(self._smoothed),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a saved state; all but the window are this policy's own.

        Raises:
            ValueError: the state is of other objectives, signal kinds or another window, or is not of this policy.
        """
        entries = ("window", "signal_kinds", "history", "ignored", "smoothed")
        require_state("recap", state, entries, self.signal_kinds)
        if state["window"] != self.window:
            raise ValueError(f"the state is of window {state['window']}, but this policy was built with {self.window}")
        self._history = {name: deque(state["history"][name], maxlen=self._kept) for name in self.objectives}
        self._ignored = Counter(state["ignored"])
        self._smoothed = {name: state["smoothed"][name] for name in self.objectives}

    def _softmax_weights(self) -> dict[str, float]:
        scores = {name: rates.score for name, rates in self._rates().items()}
        return mean_one(softmax(scores, self.temperature), self.objectives)

    def _rates(self) -> dict[str, Rates]:
        """c, i and s of the objectives whose history is full."""
        full = {name: tuple(history) for name, history in self._history.items() if len(history) >= 2 * self.window}
        return {name: self._rates_of(history, self.signal_kinds[name]) for name, history in full.items()}

    def _rates_of(self, history: Sequence[float], kind: SignalKind) -> Rates:
        older, newer, sigma = recent(in_unit_of_largest(history), self.window, self.spread, self.averages)
        newer_over_older = (kind == "reward") == (self.convergence == "v2")
        a, b = (newer, older) if newer_over_older else (older, newer)
        c = ratio(a, b, self.rate_limit)
        i = ratio(sigma, abs(newer) + abs(older), self.rate_limit) if sigma else 0.0
        s = c + i if self.alpha is None else self.alpha * c + (1 - self.alpha) * i
        return Rates(c, i, s)
