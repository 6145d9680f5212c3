"""What the paper shows, a line each: its number, ours with its interval, and what that allows to say.

Numbers are points: hundredths of a score. Intervals are of 95 %, by t over matched seeds, each for itself: many lines, so that
one of twenty is expected to leave out 0 by luck.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from recap.evaluation.statistics import Interval, t_interval
from recap.studies.laptop.arms import BASELINE, KEPT
from recap.studies.laptop.curves import change_of, late, median
from recap.studies.laptop.endpoint import change, contrast
from recap.studies.laptop.runs import ArmRun, Runs

RECAP = ("recap_t0.2", "recap_t0.5", "recap_t1", "recap_t5")
"""The arms of the method; the paper names T = 5, and its Figure 11 shows weights as far apart as those of 0.2."""


@dataclass(frozen=True)
class Claim:
    """One line.

    Attributes:
        source: in the paper.
        claim: in words.
        paper: its number.
        ours: with interval.
        verdict: 'reproduced', 'not seen' where the interval holds 0, 'contradicted', 'one seed', 'open', or why not testable.
    """

    source: str
    claim: str
    paper: str
    ours: str
    verdict: str


def claims(runs: Runs) -> list[Claim]:
    """Those that the finished arms say something about, then those that nothing here does."""
    found: list[Claim] = []
    for arm in (name for name in RECAP if name in runs):
        found += [*_held_out(runs, arm), *_in_training(runs, arm)]
        found += _order(list(runs[arm].values()), arm)
    return [*_of_replay(runs), *found, *NOT_HERE]


NOT_HERE = (
    Claim(
        "Fig. 5",
        "uniform leads on format early",
        "—",
        "—",
        "not testable: λ is 1 for two windows, so that both are one",
    ),
    Claim("Tables 1, 2", "scores of 3B and 7B models, LwF, MoDoMoDo", "—", "—", "not testable at this size"),
    Claim("Fig. 13, 16, 17", "two tasks, temperatures, readings", "—", "—", "see the two-task study"),
)


def _of_replay(runs: Runs) -> list[Claim]:
    found = []
    if "reasoning_only" in runs:
        lost = change(runs, "reasoning_only", KEPT)
        found.append(_line("Fig. 2", "reasoning alone loses perception", "−7.5 (LISA)", lost.mean, lost.interval, -1))
        kept = contrast(runs, BASELINE, "reasoning_only")
        if kept is not None:
            text = "uniform replay keeps more of it than reasoning alone"
            found.append(_line("Table 2", text, "+7.6 (LISA)", kept.mean, kept.interval, 1))
    for domain in ("counting", "arithmetic"):
        words = [change_of(run, f"thinking_words/{domain}") for run in runs.get(BASELINE, {}).values()]
        if known := [value for value in words if math.isfinite(value)]:
            mean, interval = _estimate(known)
            ours = f"{mean:+.1f} words{_between(interval, 1, '.1f')}"
            verdict = _verdict(interval, -1)
            found.append(
                Claim("Fig. 7", f"with replay, thinking on {domain} gets shorter", "67 → 27 words", ours, verdict)
            )
    return found


def _held_out(runs: Runs, arm: str) -> list[Claim]:
    found = []
    for other, text, paper in (
        ("reasoning_only", "keeps more than reasoning alone", "+9.7 (LISA)"),
        (BASELINE, "keeps more than uniform replay", "+4.1, +3.1 (means of Tables 1, 2)"),
    ):
        difference = contrast(runs, arm, other)
        if difference is not None:
            found.append(_line("Tables 1, 2", f"{arm} {text}", paper, difference.mean, difference.interval, 1))
    return found


def _in_training(runs: Runs, arm: str) -> list[Claim]:
    found = []
    for metric, text, paper, sign, source in (
        ("reward/accuracy", "accuracy", "+2.0", 1, "Fig. 5, 12"),
        ("reward/iou", "IoU", "+1.1", 1, "Fig. 12"),
        ("reward/thinking_format", "thinking format", "+0.4", 1, "Fig. 12"),
        ("reward/answer_format", "answer format", "+0.1", 1, "Fig. 12"),
    ):
        pairs = _matched(runs, arm, partial(late, metric=metric))
        if pairs:
            mean, interval = _estimate([ours - theirs for ours, theirs in pairs])
            found.append(_line(source, f"{arm}: more {text} in training than uniform", paper, mean, interval, sign))
    seconds = _matched(runs, arm, partial(median, metric="step_seconds"))
    if seconds:
        mean, interval = _estimate([ours / theirs - 1 for ours, theirs in seconds])
        ours = f"{100 * mean:+.1f} % a step{_between(interval, 100, '.1f')}"
        verdict = "one seed" if math.isnan(interval.low) else "contradicted" if interval.low > 0 else "open"
        if interval.low > -0.05 and interval.high < 0.05:  # a machine with other work shows more than that either way
            verdict = "reproduced"
        found.append(Claim("§4", f"{arm}: as fast as uniform (within 5 %)", "none", ours, verdict))
    return [*found, *_saturation(list(runs[arm].values()), arm)]


def _saturation(runs: Sequence[ArmRun], arm: str) -> list[Claim]:
    """Figure 10: c and i of the format."""
    found = []
    for metric, text, paper, near in (
        ("convergence/thinking_format", "c of the thinking format goes to 1", "1", 1.0),
        ("instability/thinking_format", "i of the thinking format goes to 0", "0", 0.0),
    ):
        values = [value for run in runs if math.isfinite(value := late(run, metric))]
        if values:
            mean, interval = _estimate(values)
            verdict = "reproduced" if abs(mean - near) <= 0.05 else "not seen"
            ours = f"{mean:.2f}{_between(interval, 1, '.2f', signed=False)}"
            found.append(Claim("Fig. 10", f"{arm}: {text} (within 0.05)", paper, ours, verdict))
    return found


def _order(runs: Sequence[ArmRun], arm: str) -> list[Claim]:
    """Figure 11: which weights are high at the end; nothing where only scores are known."""
    names = sorted({metric.rpartition("/")[2] for run in runs for metric in run.series if metric.startswith("weight/")})
    ends = {name: float(np.mean([late(run, f"weight/{name}") for run in runs])) for name in names}
    ours = ", ".join(f"{name} {value:.2f}" for name, value in sorted(ends.items(), key=lambda pair: pair[1]))
    wanted = [{"thinking_format", "answer_format"}, {"iou"}, {"next_token"}, {"accuracy"}]
    groups = [found for group in wanted if (found := [ends[name] for name in group if name in ends])]
    if len(groups) < 2:
        return []
    rising = all(max(low) < min(high) for low, high in itertools.pairwise(groups))
    text = f"{arm}: late weights, low to high: formats, IoU, next token, accuracy"
    return [Claim("Fig. 11", text, "in this order", ours, "reproduced" if rising else "not seen")]


def _matched(runs: Runs, arm: str, measure: Callable[[ArmRun], float]) -> list[tuple[float, float]]:
    """Of the arm and of the baseline, for each seed of both; without those that were not logged."""
    both = sorted(runs[arm].keys() & runs.get(BASELINE, {}).keys())
    pairs = [(measure(runs[arm][seed]), measure(runs[BASELINE][seed])) for seed in both]
    return [pair for pair in pairs if all(map(math.isfinite, pair))]


def _estimate(values: Sequence[float]) -> tuple[float, Interval]:
    found = np.array(values, dtype=np.float64)
    return float(found.mean()), t_interval(found)


def _line(source: str, claim: str, paper: str, mean: float, interval: Interval, sign: int) -> Claim:
    return Claim(source, claim, paper, f"{100 * mean:+.1f}{_between(interval, 100, '.1f')}", _verdict(interval, sign))


def _verdict(interval: Interval, sign: int) -> str:
    if math.isnan(interval.low):
        return "one seed"
    low, high = sorted((sign * interval.low, sign * interval.high))
    return "reproduced" if low > 0 else "contradicted" if high < 0 else "not seen"


def _between(interval: Interval, factor: float, form: str, signed: bool = True) -> str:
    if math.isnan(interval.low):
        return ""
    low, high = (format(factor * end, f"{'+' if signed else ''}{form}") for end in interval)
    return f" ({low} to {high})"
