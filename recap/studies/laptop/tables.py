"""The study's results as Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from recap.evaluation.comparison import verdict
from recap.evaluation.statistics import Difference
from recap.studies.laptop.arms import ARMS, MARGIN
from recap.studies.laptop.claims import Claim
from recap.studies.laptop.endpoint import Finding, of_feedback
from recap.studies.laptop.runs import ArmRun, Runs
from recap.studies.markdown import markdown_table


def markdown(found: Sequence[Finding], lines: Sequence[Claim], runs: Runs, notes: Sequence[str]) -> str:
    """Primary numbers, levels by skill, claims, and what was left out."""
    parts = [
        "## Primary number",
        "",
        PRIMARY,
        "",
        *_primary(found),
        "",
        *_feedback(runs),
        "## Every skill",
        "",
        LEVELS,
        "",
        *_levels(runs),
    ]
    parts += ["", "## The paper's claims", "", CLAIMS, "", *_claims(lines)]
    parts += ["", "## Left out", "", *(f"- {note}" for note in notes)] if notes else []
    return "\n".join(parts) + "\n"


PRIMARY = (
    "In points (hundredths of a score), with intervals of 95 % by t over matched seeds. *Kept*: change of the mean over"
    " grounding, reading, naming, comparing, copying and subtraction since the base. *Learnt*: the same of counting"
    " and arithmetic."
    " *Against uniform*: the primary number. p: by t, adjusted by Holm for all arms; sign flips, exact, not adjusted;"
    f" equivalence within ± {100 * MARGIN:g}, not adjusted. *Detectable*: what so many seeds would find in 80 % of studies."
)
FEEDBACK = (
    "The primary number of the arm with RECAP minus that of a control that is trained with its recorded weights. p as above,"
    " Holm over the controls."
)
JUDGED = ("p (Holm)", "p (sign flip)", "p (equivalent)", "detectable", "verdict")
BY_NAME = {arm.name: arm for arm in ARMS}
LEVELS = "Mean score after the last step, over seeds."
CLAIMS = "Each line's interval is for itself: of twenty lines one is expected to leave out 0 by luck."


def _primary(found: Sequence[Finding]) -> list[str]:
    titles = ["arm", "what it is", "seeds", "kept", "learnt", "forgetting index", "against uniform", *JUDGED]
    return _table(titles, [_row(one) for one in found])


def _row(one: Finding) -> list[str]:
    start = [f"`{one.arm}`", BY_NAME[one.arm].asks, str(len(one.seeds)), points(one.kept), points(one.learnt)]
    judged = ["—", *("" for _ in JUDGED[:-1])] if one.primary is None else _judged(one.primary)
    return [*start, f"{one.forgetting:.3f}", *judged, one.verdict]


def _judged(found: Difference) -> list[str]:
    """The difference, then the columns `JUDGED` but for the verdict."""
    p_values = map(_p, (found.p_holm, found.p_sign_flip, found.p_equivalent))
    detectable = "—" if math.isnan(found.detectable) else f"{100 * found.detectable:.1f}"
    return [points(found), *p_values, detectable]


def _feedback(runs: Runs) -> list[str]:
    """RECAP against what has its weights without its feedback; nothing where no such arm was run."""
    found = of_feedback(runs)
    if not found:
        return []
    rows = [
        [
            f"`{BY_NAME[name].replays}` − `{name}`",
            BY_NAME[name].asks,
            str(one.seeds),
            *_judged(one),
            verdict(one, MARGIN),
        ]
        for name, one in found.items()
    ]
    titles = ["arms", "the control", "seeds", "difference", *JUDGED]
    return ["## Is it the feedback?", "", FEEDBACK, "", *_table(titles, rows), ""]


def _levels(runs: Runs) -> list[str]:
    skills = list(_any(runs).after)
    base = ["base", *(f"{_any(runs).base[skill]:.3f}" for skill in skills)]
    rows = [
        [
            f"`{arm}`",
            *(f"{sum(run.after[skill] for run in by_seed.values()) / len(by_seed):.3f}" for skill in skills),
        ]
        for arm, by_seed in runs.items()
    ]
    return _table(["arm", *skills], [base, *rows])


def _claims(lines: Sequence[Claim]) -> list[str]:
    titles = ["paper", "claim", "its number", "ours", "verdict"]
    rows = [[one.source, one.claim, one.paper, _minus(one.ours), one.verdict] for one in lines]
    return _table(titles, rows)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return markdown_table(titles, rows, [" --- "] * len(titles))


def points(found: Difference) -> str:
    """``+1.2 (−0.3 to +2.7)``; without an interval where there is one seed."""
    mean, low, high = (_minus(f"{100 * value:+.1f}") for value in (found.mean, *found.interval))
    return mean if math.isnan(found.interval.low) else f"{mean} ({low} to {high})"


def _minus(text: str) -> str:
    """With the sign in the place of a hyphen before a number."""
    return re.sub(r"-(?=\d)", "−", text)


def _p(value: float) -> str:
    return "—" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _any(runs: Runs) -> ArmRun:
    return next(iter(next(iter(runs.values())).values()))
