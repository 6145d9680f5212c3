"""The study's results as Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from recap.evaluation.comparison import verdict
from recap.evaluation.statistics import Difference, Interval
from recap.studies.laptop.arms import ARMS, MARGIN
from recap.studies.laptop.claims import Claim
from recap.studies.laptop.curves import late_weights
from recap.studies.laptop.drift import drift_levels, predictions
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
        *_weights(runs),
        *_drift(runs),
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
WEIGHTS = "λ of every objective, mean over seeds and the last quarter of the steps."
DRIFT = (
    "KL in nats per token after the last step, mean over seeds with its interval, on prompts that were trained on,"
    " replayed, and of skills that no domain trains (docs/forgetting.md)."
)
PREDICTS = (
    "Does it go with what was forgotten, the mean loss over the skills of the primary number? Spearman's ρ over all runs, with"
    " a p as if they were independent, which runs of one arm are not; and ρ within arms, each arm's means taken off."
)
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


def _weights(runs: Runs) -> list[str]:
    """Nothing where only scores are known."""
    found = late_weights(runs)
    if not found:
        return []
    names = _all_names(found)
    rows = [[f"`{arm}`", *(f"{of[name]:.2f}" if name in of else "—" for name in names)] for arm, of in found.items()]
    return ["", "## Late weights", "", WEIGHTS, "", *_table(["arm", *names], rows)]


def _drift(runs: Runs) -> list[str]:
    """Nothing where no run has measured it."""
    levels, predicts = drift_levels(runs), predictions(runs)
    if not levels:
        return []
    measures = _all_names(levels)
    rows = [[f"`{arm}`", *(_nats(*of[name]) if name in of else "—" for name in measures)] for arm, of in levels.items()]
    lines = ["", "## Drift", "", DRIFT, "", *_table(["arm", *map(_in_words, measures)], rows)]
    if predicts:
        rows = [
            [_in_words(name), str(one.runs), _rho(one.rho), _p(one.p), _rho(one.within)]
            for name, one in predicts.items()
        ]
        lines += ["", PREDICTS, "", *_table(["measure", "runs", "ρ", "p", "ρ within arms"], rows)]
    return lines


def _all_names(found: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Those that any arm has: one may have objectives of its own, or nothing that was replayed."""
    return list(dict.fromkeys(name for of in found.values() for name in of))


def _in_words(measure: str) -> str:
    """``trained/kl_model_base`` as ``trained, KL(model‖base)``."""
    kind, _, direction = measure.partition("/")
    return f"{kind}, KL({direction.removeprefix('kl_').replace('_', '‖')})"


def _rho(value: float) -> str:
    return "—" if math.isnan(value) else _minus(f"{value:+.2f}")


def _nats(mean: float, interval: Interval) -> str:
    ends = "" if math.isnan(interval.low) else f" ({interval.low:.4f} to {interval.high:.4f})"
    return _minus(f"{mean:.4f}{ends}")


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
