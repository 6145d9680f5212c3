"""The quick start's table and sentences, on outcomes made by hand."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest
from scipy import stats

from recap.evaluation.outcomes import Outcome

PATH = Path(__file__).resolve().parents[2] / "tools" / "quickstart_report.py"
spec = importlib.util.spec_from_file_location("quickstart_report", PATH)
report = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = report
spec.loader.exec_module(report)


def outcomes(scores):
    """Greedy outcomes of one skill: a score for each example, each its own cluster."""
    return [
        Outcome(
            example=f"e{i}", position=i, digest=f"d{i}", cluster=f"c{i}", sample=0, score=score, lenient=score,
            formatted=True, completion="", tokens=1, truncated=False, chance=0.0, question="", reference="",
        )
        for i, score in enumerate(scores)
    ]  # fmt: skip


BASE = [0.0] * 20 + [1.0] * 20
WORSE = [0.0] * 30 + [1.0] * 10
BETTER = [0.0] * 5 + [1.0] * 35


def test_paired_difference_is_scipys():
    (skill,) = report.skills({"reading": outcomes(BASE)}, {"reading": outcomes(WORSE)}, {"reading": outcomes(BASE)})
    differences = [after - before for after, before in zip(WORSE, BASE, strict=True)]
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    change = skill.changes[0]
    assert (change.mean - change.half, change.mean + change.half) == pytest.approx(tuple(expected))
    assert skill.changes[1] == (0.0, 0.0)
    assert skill.difference.mean == -change.mean


def test_sentences_say_what_intervals_carry_and_no_more():
    slightly = [*BASE[:-1], 0.0]  # one of 40 examples lost
    found = report.skills(
        {"counting": outcomes(BASE), "reading": outcomes(BASE), "copying": outcomes(BASE)},
        {"counting": outcomes(BETTER), "reading": outcomes(WORSE), "copying": outcomes(slightly)},
        {"counting": outcomes(BETTER), "reading": outcomes(BASE), "copying": outcomes(BASE)},
    )
    said = report.verdict(found)
    assert "Reasoning-only raised counting (+0.38) and lost reading (-0.25)" in said
    assert "RECAP raised counting (+0.38) and lost nothing" in said
    assert "RECAP ended higher in reading;" in said
    assert "copying" not in said


def test_one_example_gives_no_interval():
    (skill,) = report.skills({"a": outcomes([1.0])}, {"a": outcomes([0.0])}, {"a": outcomes([1.0])})
    assert math.isinf(skill.changes[0].half)
    assert skill.changes[0].sign == 0


def test_the_figure_is_drawn(tmp_path):
    found = report.skills({"reading": outcomes(BASE)}, {"reading": outcomes(WORSE)}, {"reading": outcomes(BETTER)})
    report.draw(found, tmp_path / "new" / "figure.png")
    assert (tmp_path / "new" / "figure.png").stat().st_size > 5000
