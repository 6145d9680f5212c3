"""The statistics of comparisons: differences over matched seeds, and over the same examples within a seed.

The seed is the unit of inference: examples of one run share its luck, so that 1,000 of them are no 1,000 runs.

Sources: seeds and examples as crossed random effects: Searle, Casella and McCulloch, Variance Components (1992), and
Satterthwaite 1946; equivalence: Schuirmann 1987; the rest is what scipy and statsmodels call by its name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

CONFIDENCE = 0.95
POWER = 0.8
MAX_FLIPS = 200_000  # sign patterns that are all tried, up to 17 seeds; of more, so many are drawn

Differences = NDArray[np.float64]
"""[S]: one difference for each of S matched seeds."""


class Interval(NamedTuple):
    """Both ends; NaN where there are too few observations for any."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A mean difference over matched seeds, and how sure it is.

    Attributes:
        seeds: how many were matched.
        mean: of the differences.
        interval: of 95 %, by Student's t over the seeds: what other seeds would show on the same examples.
        crossed: of 95 %, over seeds and examples: what other seeds would show on other examples of the kind.
        p_t: that the mean is 0, by t.
        p_sign_flip: that the differences are symmetric around 0, exactly; with S seeds at least 2 / 2^S.
        p_equivalent: that the mean lies outside the margin, by two one-sided t tests; NaN without a margin.
        detectable: the difference that so many seeds, differing as these do, would find in 80 % of experiments.
        p_holm: `p_t`, adjusted for all comparisons of its family.
    """

    seeds: int
    mean: float
    interval: Interval
    crossed: Interval
    p_t: float
    p_sign_flip: float
    p_equivalent: float
    detectable: float
    p_holm: float = math.nan


def difference(by_example: NDArray[np.float64], clusters: Sequence[str], margin: float | None) -> Difference:
    """What is to be said of the differences of S matched seeds on the same E examples.

    Args:
        by_example: [S, E].
        clusters: [E], which examples belong together.
        margin: differences up to it count as none.
    """
    differences = by_example.mean(1)
    return Difference(
        seeds=len(differences),
        mean=float(differences.mean()),
        interval=t_interval(differences),
        crossed=crossed_interval(by_example, clusters),
        p_t=t_p(differences),
        p_sign_flip=sign_flip_p(differences),
        p_equivalent=math.nan if margin is None else equivalence_p(differences, margin),
        detectable=detectable(differences),
    )


def t_interval(differences: Differences) -> Interval:
    """mean ± t · sd / √S with S − 1 degrees of freedom; NaN for a single seed."""
    count = len(differences)
    if count < 2:
        return Interval(math.nan, math.nan)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * differences.std(ddof=1) / math.sqrt(count))
    mean = float(differences.mean())
    return Interval(mean - half, mean + half)


def t_p(differences: Differences) -> float:
    """Two-sided, that the mean is 0; 1 where every difference is 0, NaN for a single seed."""
    if len(differences) < 2:
        return math.nan
    if not differences.std():
        return 1.0 if not differences.any() else 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def sign_flip_p(differences: Differences) -> float:
    """Two-sided: the share of the 2^S ways to flip signs whose mean is at least as far from 0 as the one seen.

    NaN for a single seed.
    """

    def mean(values: Differences, axis: int) -> NDArray[np.float64]:
        result: NDArray[np.float64] = values.mean(axis=axis)
        return result

    if len(differences) < 2:
        return math.nan
    found = stats.permutation_test(
        (differences,),
        mean,
        permutation_type="samples",
        n_resamples=MAX_FLIPS,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def equivalence_p(differences: Differences, margin: float) -> float:
    """TOST: the larger p of the two tests that the mean is below −margin, and above margin; NaN for a single seed."""
    from statsmodels.stats.weightstats import DescrStatsW

    if len(differences) < 2:
        return math.nan
    if not differences.std():
        return 0.0 if abs(differences[0]) < margin else 1.0
    return float(DescrStatsW(differences).ttost_mean(-margin, margin)[0])


def crossed_interval(by_example: NDArray[np.float64], clusters: Sequence[str]) -> Interval:
    """mean ± t · √V, both seeds and clusters of examples being draws: x_sc = μ + a_s + b_c + e_sc.

    V = (A + B − R) / (S C), with the mean squares A between seeds, B between clusters and R of the rest, has the expectation
    σ_a² / S + σ_b² / C + σ_e² / (S C), the variance of the mean: A and B both hold σ_e², which is taken out once. V is at
    least the larger of A and B over S C. Its degrees of freedom are those of Satterthwaite (1946), as a sum of mean squares has
    about; two seeds are too few for that, and cover somewhat less than they say. (A bootstrap that draws seeds and
    clusters anew counts σ_e² three times, Owen 2007, and no choice of t repairs that.)

    Args:
        by_example: [S, E] differences.
        clusters: [E].
    """
    seeds = len(by_example)
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    count = len(names)
    if seeds < 2 or count < 2:
        return t_interval(by_example.mean(1))
    mean, sizes = float(by_example.mean()), np.bincount(index)
    values = np.zeros((seeds, count))  # what a cluster adds to the mean of all examples, as one of equal clusters
    np.add.at(values.T, index, by_example.T - mean)
    values *= count / sizes.sum()
    of_seeds, of_clusters = values.mean(1), values.mean(0)
    rest = values - of_seeds[:, None] - of_clusters
    free = np.array([seeds - 1, count - 1, (seeds - 1) * (count - 1)])
    squares = np.array([count * (of_seeds**2).sum(), seeds * (of_clusters**2).sum(), (rest**2).sum()]) / free
    squares[2] = min(squares[2], *squares[:2])
    total = float(squares[0] + squares[1] - squares[2])
    if not total:
        return Interval(mean, mean)
    degrees = total**2 / float((squares**2 / free).sum())
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees)) * math.sqrt(total / (seeds * count))
    return Interval(mean - half, mean + half)


def detectable(differences: Differences) -> float:
    """The smallest true difference that a two-sided t test at 5 % finds with a chance of 80 %, with seeds as these.

    The spread of the seeds is estimated from themselves; of a handful it is a rough figure.
    """
    count = len(differences)
    if count < 2:
        return math.nan
    needed = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)

    def lacking(
        effect: float,
    ) -> float:  # the power of the tail in the effect's direction; the other adds nothing at 80 %
        return float(stats.nct.sf(needed, count - 1, effect * math.sqrt(count))) - POWER

    return float(optimize.brentq(lacking, 0, 4 * needed) * differences.std(ddof=1))


def detectable_within(examples: int, discordant: float) -> float:
    """The difference of two models that a test on the same examples finds with a chance of 80 %: (1.96 + 0.84) √(d / n).

    Args:
        examples: n.
        discordant: d, the share of examples on which the two differ.
    """
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(POWER))
    return z * math.sqrt(discordant / examples) if examples else math.nan


@dataclass(frozen=True)
class Transitions:
    """Two models on the same examples, each right or wrong: how many stayed right, were lost, gained, stayed wrong.

    Attributes:
        p: McNemar's exact test that as many are lost as gained.
    """

    kept: int
    lost: int
    gained: int
    neither: int
    p: float


def transitions(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Transitions:
    """Counts, and McNemar's exact test.

    Args:
        before, after: [E], whether each was right.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    kept, lost = int((before & after).sum()), int((before & ~after).sum())
    gained, neither = int((~before & after).sum()), int((~before & ~after).sum())
    p = float(mcnemar([[kept, lost], [gained, neither]], exact=True).pvalue) if lost + gained else 1.0
    return Transitions(kept, lost, gained, neither, p)


def as_family(found: Sequence[Difference]) -> list[Difference]:
    """The same differences, each with `p_holm` adjusted for all of them."""
    adjusted = holm([one.p_t for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, adjusted, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values, adjusted for their number by Holm's step-down method; NaN ones are no tests and stay."""
    from statsmodels.stats.multitest import multipletests

    known = [place for place, p in enumerate(p_values) if not math.isnan(p)]
    adjusted = list(p_values)
    if known:
        for place, p in zip(known, multipletests([p_values[place] for place in known], method="holm")[1], strict=True):
            adjusted[place] = float(p)
    return adjusted
