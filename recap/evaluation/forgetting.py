"""Forgetting: what a model could do before and cannot do now, example by example.

A mean hides it: one fact forgotten and another learnt leave it where it was. So outcomes of the same examples are
compared. In the formulas b and a are an example's scores before and after, in [0, 1]; means are over examples.

    forgotten   mean of max(0, b − a): the share right before and wrong after, where scores are 0 or 1
    gained      mean of max(0, a − b): the share wrong before and right after
    change      gained − forgotten = mean a − mean b
    retention   mean a / mean b

With m samples of an example, before and after, [n, m] and [n, m'], `forgotten` is the mean over all pairs of a sample
before and one after. As the samples are independent, that is the unbiased estimate of E max(0, b − a): for right and wrong
with probabilities p and q, of p (1 − q). A model that has not changed at all forgets p (1 − p) by that measure, since it
is not right every time; `noise_floor` is the unbiased estimate of that, from pairs of different samples before. Greedy
completions of a model that has not changed are the same: their floor is 0.

Sources: right before and wrong after, per example, with chance taken out: Mapping Post-Training Forgetting in Language
Models at Scale (arXiv 2510.17776); peak minus last: Riemannian Walk (arXiv 1801.10112), section 4; pass@k: Evaluating Large
Language Models Trained on Code (arXiv 2107.03374), equation 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
"""[n, m]: m scores of each of n examples."""

RIGHT = 0.5
"""A score from here on counts as right, where only right and wrong are told apart."""


def forgotten(before: Scores, after: Scores) -> float:
    """Mean over examples, and over pairs of a sample before and one after, of max(0, before − after)."""
    return float(np.maximum(0, before[:, :, None] - after[:, None, :]).mean()) if before.size else math.nan


def gained(before: Scores, after: Scores) -> float:
    """Mean over examples, and over pairs of a sample before and one after, of max(0, after − before)."""
    return forgotten(after, before)


def noise_floor(before: Scores) -> float:
    """What `forgotten` finds, on average, between two sets of samples of one and the same model.

    Mean over examples and over ordered pairs of different samples of max(0, s − s'): for right and wrong p̂ (1 − p̂) m/(m−1).

    Returns: NaN with fewer than two samples.
    """
    n, m = before.shape
    if not n or m < 2:
        return math.nan
    pairs = np.maximum(0, before[:, :, None] - before[:, None, :])  # 0 for a sample and itself
    return float(pairs.sum() / (n * m * (m - 1)))


def retention(before: Scores, after: Scores) -> float:
    """mean after / mean before; NaN where the mean before is not above 0: nothing could be forgotten."""
    base = float(before.mean()) if before.size else math.nan
    return float(after.mean()) / base if base > 0 else math.nan


def above_chance(scores: Scores, chance: NDArray[np.float64]) -> Scores:
    """(s − c) / (1 − c): 0 for a model that guesses, 1 for one that knows, on average over many examples.

    Args:
        chance: [n], the score c of a guess, e.g. 1/4 with four choices.
    """
    return (scores - chance[:, None]) / (1 - chance[:, None])


def forgotten_above_chance(before: Scores, after: Scores, chance: NDArray[np.float64]) -> float:
    """`forgotten` without what guesses alone would show: mean of F / (1 − c) − c N / (1 − c)².

    F = max(0, b − a), and N = 1 − max(b, a), 1 where neither is right. In the response model of arXiv 2510.17776 an answer is
    known, and then right, or a guess, and then right with probability c. Of what is known before and not after, 1 − c of it
    shows in F; of what is known neither time, c (1 − c) shows in F, and (1 − c)² in N, which therefore tells how much that is.
    Both guesses are taken to be independent; of a greedy model that guesses alike both times it takes out too much, so
    that the result may be negative. `gained` in the same way; their difference is the change of the mean of `above_chance`.
    """
    if not before.size:
        return math.nan
    b, a, c = before[:, :, None], after[:, None, :], chance[:, None, None]
    found = np.maximum(0, b - a) / (1 - c) - c * (1 - np.maximum(b, a)) / (1 - c) ** 2
    return float(found.mean())


def pass_at_k(samples: Scores, k: int) -> float:
    """The chance that one of k samples is right, unbiased: mean of 1 − C(m − r, k) / C(m, k), r of m samples being right.

    Raises:
        ValueError: fewer than k samples.
    """
    m = samples.shape[1]
    if not 1 <= k <= m:
        raise ValueError(f"pass@{k} takes at least {max(k, 1)} samples of an example; there are {m}")
    right = (samples >= RIGHT).sum(1)
    missed = [math.comb(m - int(r), k) / math.comb(m, k) for r in right]
    return 1 - float(np.mean(missed)) if missed else math.nan


def below_peak(means: Sequence[float]) -> float:
    """max of the means of all evaluations so far − the last one: what the run had in its hands and lost.

    The maximum of noisy means is too high by about their standard error.
    """
    return max(means) - means[-1]


def forgetting_index(retentions: Sequence[float]) -> float:
    """One number for a suite: 1 − mean over capabilities of min(1, retention). 0: nothing is lost; 1: everything.

    What one capability gains does not make up for what another loses. Retentions of multiple choice are above chance, and one
    below 0 counts as 0. Those that are not known (NaN) are left out.
    """
    kept = [min(1.0, max(0.0, value)) for value in retentions if not math.isnan(value)]
    return 1 - sum(kept) / len(kept) if kept else math.nan


def kept_share(found: Mapping[str, float]) -> float:
    """What `forgetting_index` takes of the `measures` of a capability: retention, above chance where there are choices."""
    return found.get("retention_above_chance", found["retention"])


def measures(before: Scores, after: Scores, chance: NDArray[np.float64]) -> dict[str, float]:
    """Retention, forgotten and gained; these above chance too where there are choices; the noise floor of samples.

    Args:
        before, after: [n, m] and [n, m'], of the same examples in the same order.
        chance: [n].
    """
    found = {
        "retention": retention(before, after),
        "forgotten": forgotten(before, after),
        "gained": gained(before, after),
    }
    if chance.any():
        found |= {
            "retention_above_chance": retention(above_chance(before, chance), above_chance(after, chance)),
            "forgotten_above_chance": forgotten_above_chance(before, after, chance),
            "gained_above_chance": forgotten_above_chance(after, before, chance),
        }
    if before.shape[1] > 1:
        found["noise_floor"] = noise_floor(before)
    return found
