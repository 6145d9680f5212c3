"""Comparison of made-up runs whose truth is known; what cannot be compared is refused."""

from __future__ import annotations

import gc
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from recap.evaluation.comparable import (
    Group,
    MeasuredRun,
    NotComparable,
    baseline_of,
    check_comparable,
    differing,
    group_runs,
)
from recap.evaluation.comparison import Comparison, compare, verdict
from recap.evaluation.comparison_report import footnotes, tables
from recap.evaluation.outcomes import Outcome, Outcomes

Make = Callable[..., Outcome]
ASKED = {"prompt": "{question}", "verifier": "Accuracy", "max_new_tokens": 8, "samples": 0, "temperature": 1.0}


def about(policy: str, seed: int, capabilities: Sequence[str] = ("sums",), configuration: str = "") -> dict[str, Any]:
    return {
        "run": f"quickstart-{policy}",
        "seed": seed,
        "steps": 60,
        "model": "tiny",
        "settings": {"reweighting": policy.title(), "seed": str(seed)},
        "configuration": configuration or f"train.reweighting = @reweighting.{policy}\ntrain.seed = {seed}\n",
        "capabilities": {name: dict(ASKED) for name in capabilities},
    }


@pytest.fixture
def made(outcome: Make) -> Callable[..., MeasuredRun]:
    """A run from the scores of its examples, before and after."""

    def make(
        policy: str,
        seed: int,
        after: Mapping[str, Sequence[float]],
        before: Mapping[str, Sequence[float]],
        **values: Any,
    ) -> MeasuredRun:
        def outcomes(scores: Mapping[str, Sequence[float]]) -> Outcomes:
            return {name: [outcome(n, score) for n, score in enumerate(of)] for name, of in scores.items()}

        run = MeasuredRun(
            f"runs/{policy}-{seed}", about(policy, seed, list(after)), 60, outcomes(before), outcomes(after)
        )
        return replace(run, **values)

    return make


def test_by_hand(made: Callable[..., MeasuredRun]) -> None:
    base = {"sums": [1, 1, 1, 0]}
    runs = [
        made("uniform", 0, {"sums": [1, 0, 0, 0]}, base),
        made("uniform", 1, {"sums": [1, 1, 0, 0]}, base),
        made("recap", 0, {"sums": [1, 1, 0, 1]}, base),
        made("recap", 1, {"sums": [1, 1, 1, 0]}, base),
        made("recap", 2, {"sums": [1, 1, 1, 1]}, base),
    ]
    assert check_comparable(runs) == []
    groups = group_runs(runs)
    assert {label: sorted(group) for label, group in groups.items()} == {"uniform": [0, 1], "recap": [0, 1, 2]}
    found = compare(groups, "uniform")
    assert found.base["sums"] == (0.75, pytest.approx((0.75 * 0.25 / 4) ** 0.5))
    uniform, recap = found.levels["uniform"]["sums"], found.levels["recap"]["sums"]
    assert (uniform.mean, recap.mean) == (0.375, pytest.approx((0.75 + 0.75 + 1) / 3))
    assert (uniform.forgotten, uniform.gained, uniform.retention) == (0.375, 0, pytest.approx(0.5))
    assert (recap.forgotten, recap.gained) == (pytest.approx(0.25 / 3), pytest.approx(0.5 / 3))
    assert found.index["uniform"][0] == pytest.approx(1 - (1 / 3 + 2 / 3) / 2)
    assert found.index["recap"][0] == pytest.approx(0)  # what one seed forgets it also learns
    (difference,) = found.differences
    assert (difference.group, difference.difference.seeds) == ("recap", 2)  # the third seed has no partner
    assert difference.difference.mean == pytest.approx((0.5 + 0.25) / 2)
    assert difference.difference.interval == pytest.approx((0.375 - 12.7062 * 0.125, 0.375 + 12.7062 * 0.125), rel=1e-4)
    assert difference.difference.p_sign_flip == 0.5
    within = difference.within[0]
    assert (within.kept, within.lost, within.gained, within.neither, within.p) == (1, 0, 2, 1, 0.5)
    assert difference.discordant == pytest.approx((2 + 1) / 8)
    changes = {change.group: change for change in found.changes}
    assert changes["uniform"].difference.mean == pytest.approx(-0.375)
    assert [changes["recap"].within[seed].gained for seed in (0, 1, 2)] == [1, 0, 1]


def test_a_table_shows_it(made: Callable[..., MeasuredRun]) -> None:
    from rich.console import Console

    base = {"sums": [1.0] * 8 + [0.0] * 8}
    runs = [
        made(policy, seed, {"sums": [float((n + seed) % 4 < good) for n in range(16)]}, base)
        for policy, good in (("uniform", 1), ("recap", 3))
        for seed in range(3)
    ]
    found = compare(group_runs(runs), "uniform", margin=0.1)
    console = Console(width=200, record=True, file=io.StringIO())
    for table in tables(found):
        console.print(table)
    text = console.export_text()
    assert "+0.500" in text
    assert "difference from uniform, over matched seeds" in text
    assert "p (± 0.1)" in text
    assert any("cannot go below p = 0.25" in line for line in footnotes(found))


def test_readings(made: Callable[..., MeasuredRun], outcome: Make) -> None:
    """Leniently nothing is lost, and the samples say something else again."""

    def rows(score: float, sampled: Sequence[float]) -> Outcomes:
        greedy = [outcome(n, score, lenient=1.0) for n in range(4)]
        more = [outcome(n, value, sample=m + 1) for n in range(4) for m, value in enumerate(sampled)]
        return {"sums": [*greedy, *more]}

    base = rows(1.0, (1, 1))
    runs = [replace(made("recap", seed, {"sums": [1]}, {}), base=base, after=rows(0.0, (1, 0))) for seed in range(2)]
    means = {
        reading: compare(group_runs(runs), "recap", reading=reading) for reading in ("strict", "lenient", "sampled")
    }
    assert {name: found.levels["recap"]["sums"].mean for name, found in means.items()} == {
        "strict": 0.0,
        "lenient": 1.0,
        "sampled": 0.5,
    }
    plain = [made("recap", 0, {"sums": [1]}, {"sums": [1]})]
    with pytest.raises(NotComparable, match="sums has no sampled scores"):
        compare(group_runs(plain), "recap", reading="sampled")


def test_what_cannot_be_compared_is_refused(made: Callable[..., MeasuredRun], outcome: Make) -> None:
    base = {"sums": [1, 1, 0, 0] * 25}
    first = made("uniform", 0, base, base)
    other = made("recap", 0, base, base)
    shifted = {"sums": [replace(row, digest=f"{row.digest}'") for row in first.after["sums"]]}
    asked = {**other.about, "capabilities": {"sums": {**ASKED, "prompt": "Think! {question}"}}}
    words = made("recap", 0, {"words": [1]}, {"words": [1]})
    changed = {"sums": [outcome(n, float(n < 48)) for n in range(100)]}
    cases = {
        "other steps: runs/uniform-0 was last evaluated at step 60, runs/recap-0 at 40": {"step": 40},
        "other base: runs/uniform-0 started from tiny, runs/recap-0 from large": {
            "about": {**other.about, "model": "large"}
        },
        "other questions: sums had prompt = '{question}' in runs/uniform-0": {"about": asked},
        "other examples: 100 of 100 of sums in runs/recap-0 are not those of runs/uniform-0": {
            "base": shifted,
            "after": shifted,
        },
        "other base: before the first step, runs/recap-0 has another score than runs/uniform-0 on": {"base": changed},
        "runs/recap-0: sums was not measured before the first step": {"base": {}},
        "other capabilities: runs/uniform-0 has sums; runs/recap-0 has words": {
            "base": words.base,
            "after": words.after,
        },
    }
    for reason, values in cases.items():
        with pytest.raises(NotComparable) as error:
            check_comparable([first, replace(other, **values)])
        assert reason in str(error.value)
    with pytest.raises(NotComparable, match="are one experiment with one seed, 0"):
        group_runs([first, replace(first, name="runs/again")])
    with pytest.raises(NotComparable, match="no group 'static'"):
        compare(group_runs([first, other]), "static")


def test_bases_that_differ_by_rounding_are_noted(made: Callable[..., MeasuredRun]) -> None:
    scores = [1, 1, 0, 0] * 25
    runs = [
        made("uniform", 0, {"sums": scores}, {"sums": scores}),
        made("recap", 0, {"sums": scores}, {"sums": [0, *scores[1:]]}),
    ]
    (note,) = check_comparable(runs)
    assert "another score than runs/uniform-0 on 1 of 100 examples of sums" in note


def test_groups_are_what_differs_in_more_than_seeds(made: Callable[..., MeasuredRun]) -> None:
    text = (
        "# a comment\ntrain.domains = \\\n    [@counting/Domain(),\n     @reading/Domain()]\n"
        "replay.counting.seed = {seed}\ntrain.seed = {seed}\ntracking.run_name = 'run {seed}'\nadamw.learning_rate = {rate}\n"
    )

    def run(seed: int, rate: str) -> MeasuredRun:
        plain = made("recap", seed, {"sums": [1]}, {"sums": [1]}, name=f"runs/{rate}-{seed}")
        of = about("recap", seed, configuration=text.format(seed=seed, rate=rate))
        return replace(plain, about={**of, "run": f"at {rate}"})

    groups = group_runs([run(seed, rate) for rate in ("1e-4", "1e-5") for seed in (0, 1)])
    assert {label: sorted(group) for label, group in groups.items()} == {
        "recap (at 1e-4)": [0, 1],
        "recap (at 1e-5)": [0, 1],
    }
    assert differing(groups) == {
        "recap (at 1e-4)": ["adamw.learning_rate = 1e-4"],
        "recap (at 1e-5)": ["adamw.learning_rate = 1e-5"],
    }


@pytest.mark.parametrize(
    ("binding", "another"),
    [
        ("rewards.failures = 'left_out'", True),  # what is learnt from a completion that cannot be judged
        ("rewards.timeout_s = 1", True),
        ("rewards.workers = 4", False),
        ("rewards.memory_gb = 8", False),
        ("tracking.uri = 'sqlite:///other.db'", False),
    ],
)
def test_what_changes_the_rewards_is_another_experiment(
    made: Callable[..., MeasuredRun], binding: str, another: bool
) -> None:
    runs = [
        replace(
            made("recap", seed, {"sums": [1]}, {"sums": [1]}),
            about=about("recap", seed, configuration=f"train.seed = {seed}\n{extra}\n"),
        )
        for seed, extra in ((0, ""), (1, binding))
    ]
    assert len(group_runs(runs)) == 1 + another


def test_what_another_version_does_not_write_down_is_not_compared_in_either_order(
    made: Callable[..., MeasuredRun],
) -> None:
    newer, older = (made("recap", seed, {"sums": [1]}, {"sums": [1]}) for seed in (0, 1))
    asked = {**ASKED, "a_new_setting": "1"}
    newer = replace(newer, about={**newer.about, "capabilities": {"sums": asked}})
    assert check_comparable([newer, older]) == check_comparable([older, newer]) == []


SEEDS, EXAMPLES = 6, 60


def experiment(
    made: Callable[..., MeasuredRun], rng: np.random.Generator, effects: Sequence[float], own: float
) -> tuple[Comparison, list[float]]:
    """Two policies, six seeds, a capability for each effect; returns what is found, and the effects on these examples."""
    names = [f"skill {k}" for k in range(len(effects))]
    skill = rng.uniform(0.3, 0.7, (len(effects), EXAMPLES))
    special = rng.normal(0, own, skill.shape)  # what the policy does to each example, beside what it does to all
    shift = np.asarray(effects)[:, None] + special
    before = {name: (rng.random(EXAMPLES) < skill[k]).astype(float).tolist() for k, name in enumerate(names)}
    runs = []
    for seed in range(SEEDS):
        for policy, change in (("uniform", np.zeros_like(shift)), ("recap", shift)):
            luck = rng.normal(0, 0.04, (len(effects), 1))
            right = rng.random(skill.shape) < skill + change + luck
            runs.append(made(policy, seed, dict(zip(names, right.astype(float).tolist(), strict=True)), before))
    return compare(group_runs(runs), "uniform", margin=0.1), list(shift.mean(1))


@pytest.fixture
def quick_collection() -> Iterator[None]:
    """`multipletests` calls the garbage collector, which would look at all of torch a thousand times."""
    gc.freeze()
    yield
    gc.unfreeze()


def rate_bound(rate: float, count: int) -> float:
    """Four standard errors of a rate: one false alarm in 16,000."""
    return 4 * math.sqrt(rate * (1 - rate) / count)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("quick_collection")
def test_intervals_cover_and_false_positives_are_as_rare_as_they_say(made: Callable[..., MeasuredRun]) -> None:
    """500 made-up experiments of three capabilities in which the policies do not differ on average."""
    rng, count = np.random.default_rng(0), 500
    covered, crossed, family, flips, flat, claims = [], [], [], [], [], []
    for number in range(count):
        found, here = experiment(made, rng, [0.0, 0.0, 0.0], own=0.1 if number % 2 else 0.0)
        results = [contrast.difference for contrast in found.differences]
        covered += [d.interval.low <= truth <= d.interval.high for d, truth in zip(results, here, strict=True)]
        crossed += [d.crossed.low <= 0 <= d.crossed.high for d in results]
        if not number % 2:  # no difference on these examples either
            family.append(any(d.p_holm < 0.05 for d in results))
            flips += [d.p_sign_flip <= 0.05 for d in results]
            flat += [d.p_t < 0.05 for d in results]
            claims += ["equivalent" in verdict(d, 0.1) for d in results]
    assert abs(np.mean(covered) - 0.95) < rate_bound(0.95, len(covered))
    assert np.mean(crossed) > 0.95 - rate_bound(0.95, len(crossed))
    assert np.mean(family) < 0.05 + rate_bound(0.05, len(family))
    assert np.mean(flips) < 0.05 + rate_bound(0.05, len(flips))
    assert np.mean(flat) < 0.05 + rate_bound(0.05, len(flat))
    assert np.mean(claims) > 0.3
    names = ("t covers", "crossed covers", "family", "sign flip", "t", "equivalent")
    print(dict(zip(names, map(np.mean, (covered, crossed, family, flips, flat, claims)), strict=True)))


def power(effect: float, alpha: float) -> float:
    """Of a t test over the seeds: each difference has the noise of two runs' luck and of right and wrong answers.

    The variance of an answer lies between 0.25 and what skill leaves of it; 0.24 on average.
    """
    spread = math.sqrt(2 * 0.04**2 + 2 * 0.24 / EXAMPLES)
    needed = stats.t.ppf(1 - alpha / 2, SEEDS - 1)
    return float(stats.nct.sf(needed, SEEDS - 1, effect / spread * math.sqrt(SEEDS)))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("quick_collection")
def test_a_known_effect_is_found_covered_and_not_called_equivalent(made: Callable[..., MeasuredRun]) -> None:
    """500 made-up experiments in which the policy forgets a tenth of one skill and a quarter of another."""
    rng, count, effects = np.random.default_rng(1), 500, [-0.1, -0.25]
    covered, crossed, found_small, found_large, claims = [], [], [], [], []
    for _ in range(count):
        found, here = experiment(made, rng, effects, own=0.05)
        results = [contrast.difference for contrast in found.differences]
        covered += [d.interval.low <= truth <= d.interval.high for d, truth in zip(results, here, strict=True)]
        crossed += [d.crossed.low <= truth <= d.crossed.high for d, truth in zip(results, effects, strict=True)]
        found_small.append(verdict(results[0], None) == "lower")
        found_large.append(verdict(results[1], None) == "lower")
        claims.append(results[0].p_equivalent < 0.05)  # the true effect lies on the margin
    assert abs(np.mean(covered) - 0.95) < rate_bound(0.95, len(covered))
    assert np.mean(crossed) > 0.95 - rate_bound(0.95, len(crossed))
    for found_rate, effect in ((np.mean(found_small), 0.1), (np.mean(found_large), 0.25)):
        powers = [power(effect, alpha) for alpha in (0.025, 0.05)]  # of Holm's two steps
        assert powers[0] - rate_bound(powers[0], count) < found_rate < powers[1] + rate_bound(powers[1], count)
    assert np.mean(claims) < 0.05 + rate_bound(0.05, count) + 0.02  # the effect on these examples scatters around it
    names = ("t covers", "crossed covers", "finds 0.1", "finds 0.25", "equivalent at the margin")
    print(dict(zip(names, map(np.mean, (covered, crossed, found_small, found_large, claims)), strict=True)))


def test_a_policy_names_the_baseline_where_one_group_alone_has_it() -> None:
    def group(policy: str) -> Group:
        return {0: MeasuredRun("run", {"settings": {"reweighting": policy}}, 1, {}, {})}

    groups = {"recap 1": group("Recap"), "uniform 2": group("Uniform"), "recap 3": group("Recap")}
    assert baseline_of(groups, None) == "recap 1"
    assert baseline_of(groups, "recap 3") == "recap 3"
    assert baseline_of(groups, "uniform") == "uniform 2"
    with pytest.raises(NotComparable, match="2 groups are 'recap': name one of 'recap 1', 'recap 3'"):
        baseline_of(groups, "recap")
    with pytest.raises(NotComparable, match="no group 'static' to compare with; there are 'recap 1', 'uniform 2'"):
        baseline_of(groups, "static")
