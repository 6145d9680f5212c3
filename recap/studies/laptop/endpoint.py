"""The primary number of the study, and how each arm is judged by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recap.evaluation.comparison import verdict
from recap.evaluation.forgetting import forgetting_index, retention
from recap.evaluation.statistics import Difference, as_family, difference
from recap.studies.laptop.arms import ARMS, BASELINE, KEPT, LEARNT, MARGIN
from recap.studies.laptop.runs import ArmRun, Runs


@dataclass(frozen=True)
class Finding:
    """What came of one arm.

    Attributes:
        seeds: that it ran.
        kept: its change of the mean score over `KEPT`, against the base.
        learnt: the same over `LEARNT`.
        forgetting: the forgetting index over all skills, mean over seeds.
        primary: its mean score over `KEPT` minus the baseline's, over the seeds that both have; None of the baseline, and of an
            arm that shares no seed with it.
    """

    arm: str
    seeds: Sequence[int]
    kept: Difference
    learnt: Difference
    forgetting: float
    primary: Difference | None

    @property
    def verdict(self) -> str:
        """'higher', 'lower', 'equivalent', 'open', or 'one seed'; of the baseline nothing."""
        return "" if self.primary is None else verdict(self.primary, MARGIN)


def findings(runs: Runs) -> list[Finding]:
    """Every arm, its primary p adjusted by Holm for all arms."""
    found = [_finding(arm, runs) for arm in runs]
    adjusted = iter(as_family([one.primary for one in found if one.primary is not None]))
    return [one if one.primary is None else replace(one, primary=next(adjusted)) for one in found]


def mean_score(run: ArmRun, skills: Sequence[str], base: bool = False) -> float:
    """Mean over skills of their scores after the last step, or of the base's."""
    return float(_scores(run, skills, base).mean())


def contrast(runs: Runs, arm: str, other: str, skills: Sequence[str] = KEPT) -> Difference | None:
    """The mean score of one arm minus that of another, over the seeds that both have; None where they share none."""
    seeds = sorted(runs.get(arm, {}).keys() & runs.get(other, {}).keys())
    if not seeds:
        return None
    ours, theirs = (np.stack([_scores(runs[name][seed], skills) for seed in seeds]) for name in (arm, other))
    return difference(ours - theirs, skills, MARGIN)


def of_feedback(runs: Runs) -> dict[str, Difference]:
    """Each control that replays an arm's weights: that arm minus the control, p adjusted by Holm for all of them."""
    pairs = {arm.name: contrast(runs, arm.replays, arm.name) for arm in ARMS if arm.replays is not None}
    found = {name: difference for name, difference in pairs.items() if difference is not None}
    return dict(zip(found, as_family(list(found.values())), strict=True))


def change(runs: Runs, arm: str, skills: Sequence[str]) -> Difference:
    """The mean score of an arm minus that of the base model."""
    of = [runs[arm][seed] for seed in sorted(runs[arm])]
    moved = np.stack([_scores(run, skills) - _scores(run, skills, base=True) for run in of])
    return difference(moved, skills, MARGIN)


def _finding(arm: str, runs: Runs) -> Finding:
    lost = [  # from means: no skill of the study has choices, above whose chance it would have to be
        forgetting_index([retention(np.array(run.base[skill]), np.array(run.after[skill])) for skill in run.after])
        for run in runs[arm].values()
    ]
    return Finding(
        arm=arm,
        seeds=sorted(runs[arm]),
        kept=change(runs, arm, KEPT),
        learnt=change(runs, arm, LEARNT),
        forgetting=float(np.mean(lost)),
        primary=None if arm == BASELINE else contrast(runs, arm, BASELINE),
    )


def _scores(run: ArmRun, skills: Sequence[str], base: bool = False) -> NDArray[np.float64]:
    """[skills]: a skill counts as one, however many examples it has."""
    return np.array([(run.base if base else run.after)[skill] for skill in skills])
