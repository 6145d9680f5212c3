"""The laptop study: its arms are the files there are, its numbers those of a hand calculation; it goes on where it stopped."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from recap.cli import app
from recap.evaluation.outcomes import Outcome, write_outcomes
from recap.experiment.config import load_config
from recap.studies.laptop.arms import ARMS, FORMS, KEPT, LEARNT, SHORT, chosen
from recap.studies.laptop.claims import claims
from recap.studies.laptop.command import to_run, write_report
from recap.studies.laptop.drift import predictions
from recap.studies.laptop.endpoint import findings, mean_score, of_feedback
from recap.studies.laptop.runs import ArmRun, Runs, point_folder
from recap.studies.laptop.scores import read_scores
from recap.studies.laptop.tables import markdown
from recap.sweeps.grid import Point
from recap.sweeps.plan import Child, Plan
from recap.sweeps.runner import Runner

ROOT = Path(__file__).resolve().parents[4]
SKILLS = (*KEPT, *LEARNT)


def run(arm: str, seed: int, after: Mapping[str, Sequence[float]], **series: Mapping[int, float]) -> ArmRun:
    scores = {skill: after.get(skill, [1.0, 0.0]) for skill in SKILLS}
    examples = {skill: len(found) for skill, found in scores.items()}
    means = {skill: sum(found) / len(found) for skill, found in scores.items()}
    named = {name.replace("__", "/"): dict(curve) for name, curve in series.items()}
    return ArmRun(arm, seed, examples, dict.fromkeys(SKILLS, 0.5), means, named)


def test_the_arms_are_the_files_there_are() -> None:
    files = {file.stem for file in (ROOT / "experiments" / "laptop").glob("[!_]*.gin")}
    assert sorted(arm.name for arm in ARMS) == sorted(files)
    assert [arm.name for arm in chosen(["yoked"])] == ["uniform", "recap_t0.2", "yoked"]
    assert {arm.name for arm in chosen(SHORT.arms)} == set(SHORT.arms)
    for form in FORMS.values():  # what a form binds is what every arm of it can be run with
        last = load_config(ROOT / chosen(form.arms)[-1].file, form.bindings, allow_unused=True).experiment
        assert last.check() == []
    with pytest.raises(ValueError, match="no arm recap_t7; there are uniform, "):
        chosen(["recap_t7"])


def test_the_primary_number_is_the_mean_over_skills_then_over_matched_seeds() -> None:
    half_right = [1.0, 0.0] * 4  # more examples than the other skills have
    runs: Runs = {
        "uniform": {seed: run("uniform", seed, {"grounding": half_right}) for seed in (0, 1, 2, 9)},
        "recap_t1": {
            seed: run("recap_t1", seed, {"grounding": [1.0] * 8 if seed < 2 else half_right}) for seed in (0, 1, 2)
        },
    }
    by_seed = [mean_score(runs["recap_t1"][s], KEPT) - mean_score(runs["uniform"][s], KEPT) for s in (0, 1, 2)]
    assert by_seed == pytest.approx([1 / 12, 1 / 12, 0])
    uniform, recap = findings(runs)
    assert uniform.primary is None
    assert uniform.verdict == ""
    assert recap.primary is not None
    assert recap.primary.seeds == 3  # seed 9 has no match
    assert recap.primary.mean == pytest.approx(np.mean(by_seed))
    half = stats.t.ppf(0.975, 2) * np.std(by_seed, ddof=1) / math.sqrt(3)
    assert recap.primary.interval.high - recap.primary.mean == pytest.approx(half)
    assert recap.primary.p_holm == recap.primary.p_t  # one comparison
    assert recap.learnt.mean == pytest.approx(0)


def test_holm_counts_all_arms() -> None:
    rng = np.random.default_rng(1)
    names = ["uniform", "recap_t1", "recap_t5", "reasoning_only"]
    runs = {name: {s: run(name, s, {"reading": rng.random(20)}) for s in range(4)} for name in names}
    p = {one.arm: one.primary for one in findings(runs) if one.primary is not None}
    smallest = min(p.values(), key=lambda found: found.p_t)
    assert smallest.p_holm == pytest.approx(min(1.0, 3 * smallest.p_t))


def test_a_control_is_held_against_the_arm_whose_weights_it_has() -> None:
    right = {"recap_t0.2": [1.0, 0.5], "yoked": [0.75, 0.5], "mean": [1.0, 0.25]}
    runs: Runs = {
        arm: {s: run(arm, s, {"reading": [share + 0.01 * s * (arm == "mean")]}) for s, share in enumerate(shares)}
        for arm, shares in right.items()
    }
    found = of_feedback(runs)
    assert list(found) == ["yoked", "mean"]
    assert found["yoked"].mean == pytest.approx(0.125 / len(KEPT))
    assert found["mean"].mean == pytest.approx((0.25 - 0.01) / 2 / len(KEPT))
    assert min(one.p_holm for one in found.values()) == pytest.approx(2 * min(one.p_t for one in found.values()))
    text = markdown(findings(runs), [], runs, [])
    assert "| `recap_t0.2` − `yoked` | its course of weights, another seed's | 2 | +2.1 (" in text
    assert "Is it the feedback?" not in markdown([], [], {"recap_t0.2": runs["recap_t0.2"]}, [])


def test_claims_say_what_the_numbers_allow() -> None:
    steps = range(1, 41)
    lost = {skill: [0.0, 0.25] for skill in KEPT}

    def curves(seed: int, recap: bool) -> dict[str, dict[int, float]]:
        return {
            "reward__accuracy": {
                step: 0.5 + 0.01 * seed + (0.02 + 0.001 * seed) * (recap and step > 30) for step in steps
            },
            "step_seconds": dict.fromkeys(steps, 1.0 + 0.2 * recap + 0.01 * seed),
            "weight__accuracy": dict.fromkeys(steps, 1.4),
            "weight__next_token": dict.fromkeys(steps, 1.2),
            "weight__iou": dict.fromkeys(steps, 1.0),
            "weight__thinking_format": dict.fromkeys(steps, 0.4),
            "convergence__thinking_format": dict.fromkeys(steps, 1.0),
            "instability__thinking_format": dict.fromkeys(steps, 0.2),
        }

    runs: Runs = {
        "uniform": {s: run("uniform", s, {}, **curves(s, False)) for s in range(3)},
        "reasoning_only": {
            s: run("reasoning_only", s, {k: [x + 0.01 * s for x in v] for k, v in lost.items()}) for s in range(3)
        },
        "recap_t0.2": {s: run("recap_t0.2", s, {}, **curves(s, True)) for s in range(3)},
    }
    found = {line.claim: line for line in claims(runs)}
    assert found["reasoning alone loses perception"].verdict == "reproduced"
    assert found["recap_t0.2 keeps more than uniform replay"].verdict == "not seen"
    assert found["recap_t0.2 keeps more than reasoning alone"].verdict == "reproduced"
    accuracy = found["recap_t0.2: more accuracy in training than uniform"]
    assert accuracy.verdict == "reproduced"
    assert accuracy.ours.startswith("+2.1 (")
    assert found["recap_t0.2: as fast as uniform (within 5 %)"].verdict == "contradicted"
    assert found["recap_t0.2: c of the thinking format goes to 1 (within 0.05)"].verdict == "reproduced"
    assert found["recap_t0.2: i of the thinking format goes to 0 (within 0.05)"].verdict == "not seen"
    order = next(line for line in claims(runs) if line.source == "Fig. 11")
    assert order.verdict == "reproduced"
    assert order.ours.startswith("thinking_format 0.40, iou 1.00")
    alone = claims({arm: {0: by_seed[0]} for arm, by_seed in runs.items()})
    assert {line.verdict for line in alone if line.source == "Tables 1, 2" and line.ours != "—"} == {"one seed"}


def test_objectives_of_domains_count_as_their_mean() -> None:
    steps = range(1, 41)

    def curves(seed: int, recap: bool) -> dict[str, dict[int, float]]:
        more = (0.02 + 0.001 * seed) * recap
        return {
            "reward__counting__accuracy": dict.fromkeys(steps, 0.5 + 2 * more),
            "reward__arithmetic__accuracy": dict.fromkeys(steps, 0.9),
            "weight__counting__accuracy": dict.fromkeys(steps, 1.0),
            "weight__arithmetic__accuracy": dict.fromkeys(steps, 0.5),
            "weight__grounding__iou": dict.fromkeys(steps, 1.5),
        }

    runs: Runs = {
        arm: {s: run(arm, s, {}, **curves(s, arm != "uniform")) for s in range(3)} for arm in ("uniform", "recap_t0.2")
    }
    found = {line.claim: line for line in claims(runs)}
    assert found["recap_t0.2: more accuracy in training than uniform"].ours.startswith("+2.1 (")
    order = next(line for line in claims(runs) if line.source == "Fig. 11")
    assert order.ours == "accuracy 0.75, iou 1.50"
    assert order.verdict == "not seen"  # the paper's has accuracy above IoU
    text = markdown(findings(runs), [], runs, [])
    assert "| arm | counting/accuracy | arithmetic/accuracy | grounding/iou |" in text
    assert "| `recap_t0.2` | 1.00 | 0.50 | 1.50 |" in text


def test_drift_that_goes_with_forgetting_is_told_from_drift_that_does_not() -> None:
    lost = {"uniform": [0.1, 0.2, 0.35], "reasoning_only": [0.5, 0.38, 0.6]}
    runs: Runs = {
        arm: {
            seed: replace(
                run(arm, seed, {skill: [0.5 - share] for skill in KEPT}),
                drift={"trained/kl_base_model": share**2, "untrained/kl_base_model": 0.5 * (arm == "uniform") - share},
            )
            for seed, share in enumerate(shares)
        }
        for arm, shares in lost.items()
    }
    found = predictions(runs)
    assert found["trained/kl_base_model"].rho == pytest.approx(1)
    assert found["trained/kl_base_model"].runs == 6
    # Ranks of drift 0.4, 0.3, 0.15, -0.5, -0.38, -0.6 are 6, 5, 4, 2, 3, 1, of what was lost 1, 2, 3, 5, 4, 6.
    assert found["untrained/kl_base_model"].rho == pytest.approx(1 - 6 * (25 + 9 + 1 + 9 + 1 + 25) / (6 * 35))
    assert found["untrained/kl_base_model"].within == pytest.approx(-1)
    text = markdown(findings(runs), [], runs, [])
    assert "| `uniform` | 0.0575 (" in text
    assert "| trained, KL(base‖model) | 6 | +1.00 | < 0.001 | " in text
    without: Runs = {"uniform": {0: run("uniform", 0, {})}}
    assert predictions(without) == {}
    assert "## Drift" not in markdown(findings(without), [], without, [])


def test_an_arm_with_other_objectives_and_kinds_of_drift_has_columns_of_its_own() -> None:
    plain, own = run("uniform", 0, {}, weight__iou={1: 1.0}), run("recap_released", 0, {})
    own = replace(own, series={"weight/grounding/iou": {1: 1.5}}, drift={"replayed/kl_model_base": 0.2})
    plain = replace(plain, drift={"trained/kl_model_base": 0.1})
    runs: Runs = {"uniform": {0: plain}, "recap_released": {0: own}}
    lines = markdown(findings(runs), [], runs, []).splitlines()
    assert "| arm | iou | grounding/iou |" in lines
    assert "| `recap_released` | — | 1.50 |" in lines
    assert "| arm | trained, KL(model‖base) | replayed, KL(model‖base) |" in lines
    assert "| `recap_released` | — | 0.2000 |" in lines


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: object) -> list[str]:
    """Runs that only leave their outcomes and weights, as if they had been trained; and what was started."""
    started: list[str] = []
    script = tmp_path / "leave.py"
    script.write_text("print('pretends')")

    def command(self: Runner, child: Child) -> list[str]:
        started.append(child.name)
        record = [binding for binding in self.plan.bindings if binding.startswith("RECORD")]
        assert bool(record) == (child.point.label == "yoked")
        if record:
            assert json.loads(record[0].partition(" = ")[2].replace("'", '"')).endswith("recap_t0.2/recap_t0.2")
        leave(child)
        return [sys.executable, str(script)]

    def leave(child: Child) -> None:
        score = 0.5 if child.point.label == "reasoning_only" else 1.0
        about = {"seed": child.seed, "model": "tiny", "settings": {"reweighting": "Uniform"}, "configuration": ""}
        about["capabilities"] = {skill: {} for skill in SKILLS}
        about["drift"] = {"trained": {"kl_model_base": {"mean": 0.25, "standard_error": 0.1}}}
        for step, value in ((0, 1.0), (40, score)):
            rows: dict[str, list[Outcome]] = {skill: [outcome(n, value) for n in range(4)] for skill in SKILLS}  # type: ignore[operator]
            write_outcomes(child.directory / "outcomes" / f"step-{step:06d}.parquet", rows, {**about, "step": step})
        line = {
            "step": 1,
            "weights": dict.fromkeys(["accuracy", "thinking_format", "iou", "answer_format", "next_token"], 1.0),
        }
        (child.directory / "weights.jsonl").write_text(json.dumps(line) + "\n")

    monkeypatch.setattr(Runner, "command", command)
    monkeypatch.setattr(Child, "finished", lambda child, steps: (child.directory / "outcomes").is_dir())
    return started


def study(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["study", "laptop", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_two_arms_from_one_command_and_again_with_more_seeds(
    pretended: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study("--form", "short", "--arms", "reasoning_only", "--seeds", "0-1")
    assert [name.partition("-")[0] for name in pretended] == ["uniform"] * 2 + ["reasoning_only"] * 2
    output = tmp_path / "runs" / "laptop-short"
    text = (output / "report.md").read_text()
    assert "| `reasoning_only` | no replay | 2 | −50.0" in text
    assert (output / "arms.png").stat().st_size > 10_000
    rows = list(csv.DictReader((output / "scores.csv").open()))
    assert len(rows) == 2 * 2 * len(SKILLS)
    assert {row["after"] for row in rows} == {"1.000000", "0.500000"}
    drift = (output / "drift.csv").read_text().splitlines()
    assert drift[1] == "short,uniform,0,trained/kl_model_base,0.250000"
    assert len(drift) == 1 + 2 * 2
    study("--form", "short", "--arms", "uniform", "--seeds", "0-2")
    assert pretended[4:] == ["uniform-seed-2"]


def test_an_arm_whose_scores_are_known_is_compared_with_and_not_run(
    pretended: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study("--form", "short", "--arms", "reasoning_only", "--seeds", "0-1", "--output", "whole")
    whole = tmp_path / "whole" / "scores.csv"
    of_uniform = [line for line in whole.read_text().splitlines() if ",reasoning_only," not in line]
    (tmp_path / "known.csv").write_text("\n".join(of_uniform) + "\n")
    pretended.clear()
    study("--form", "short", "--arms", "reasoning_only", "--seeds", "0-1", "--output", "part", "--scores", "known.csv")
    assert sorted(pretended) == ["reasoning_only-seed-0", "reasoning_only-seed-1"]
    assert (tmp_path / "part" / "scores.csv").read_text() == whole.read_text()
    tables = [(tmp_path / folder / "report.md").read_text() for folder in ("whole", "part")]
    of_scores = [text.partition("## Late weights")[0].partition("## Drift")[0] for text in tables]
    assert of_scores[0] == of_scores[1]
    pretended.clear()
    study("--form", "short", "--arms", "uniform", "--seeds", "0-2", "--output", "more", "--scores", "known.csv")
    assert pretended == ["uniform-seed-2"]


def test_scores_of_every_arm_are_a_report_without_a_run(
    pretended: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    published = ROOT / "docs" / "laptop_scores.csv"
    said = study("--arms", "reasoning_only", "--seeds", "0-7", "--scores", str(published), "--output", "again")
    assert pretended == []
    assert "nothing is run" in said
    assert (tmp_path / "again" / "scores.csv").read_text() == published.read_text()
    assert "| `reasoning_only` | no replay | 8 | −12.4" in (tmp_path / "again" / "report.md").read_text()
    pairs = {(row["arm"], row["other"]): row for row in csv.DictReader((tmp_path / "again" / "pairs.csv").open())}
    seeds = read_scores(published, "long")
    assert len(pairs) == math.comb(len(seeds), 2)
    for arm, other, matched in (("recap_t0.2", "static_replay", 4), ("recap_t0.2", "mean", 8)):
        ours, theirs = ([mean_score(seeds[name][s], KEPT) for s in range(matched)] for name in (arm, other))
        told, row = stats.ttest_rel(ours, theirs), pairs[arm, other]
        assert int(row["seeds"]) == matched
        assert float(row["difference"]) == pytest.approx(np.mean(ours) - np.mean(theirs), abs=1e-6)
        ends = told.confidence_interval()
        assert [float(row["low"]), float(row["high"])] == pytest.approx([ends.low, ends.high], abs=1e-6)
        assert float(row["p"]) == pytest.approx(told.pvalue, abs=1e-6)


def test_one_process_starts_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = CliRunner().invoke(app, ["study", "laptop", "--form", "short"])
    assert result.exit_code == 2
    assert "run it without a launcher" in result.output


def test_scores_that_cannot_be_compared_with_say_why(
    pretended: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    header = "form,arm,seed,skill,examples,base,after\n"
    rows = "".join(f"short,uniform,{seed},{skill},4,1.0,1.0\n" for seed in (0, 1) for skill in SKILLS)
    for text, reason in (
        ("", "its columns are not form, arm, seed, skill"),
        (header + rows + "short,uniform,2,reading,4\n", f"line {2 + 2 * len(SKILLS)}: "),
        (header + rows.replace("uniform", "recap_t7"), "no arm recap_t7"),
        (header + rows.rpartition("short,")[0], f"lacks {SKILLS[-1]} of uniform, seed 1: it was cut off"),
        (header + rows.replace("short", "long"), "line 2: of the form 'long', not of 'short'"),
        (header + rows.replace("reading,4", "reading,5"), "other examples or another base model in reading"),
        (header + rows.replace("naming,4,1.0", "naming,4,0.9"), "another base model in naming"),
    ):
        (tmp_path / "known.csv").write_text(text)
        command = ["--form", "short", "--arms", "reasoning_only", "--seeds", "0-1", "--scores", "known.csv"]
        result = CliRunner().invoke(app, ["study", "laptop", *command])
        assert result.exit_code == 2
        assert reason in " ".join(result.output.split())


def test_whose_weights_are_replayed_is_run_though_its_scores_are_known() -> None:
    known: Runs = {arm: {s: run(arm, s, {}) for s in range(4)} for arm in ("uniform", "recap_t0.2", "reasoning_only")}
    assert {arm.name: of for arm, of in to_run(SHORT, known).items()} == {
        "recap_t0.2": [0, 1, 2, 3],
        "yoked": [0, 1, 2, 3],
    }
    del known["uniform"][3]
    assert {arm.name: of for arm, of in to_run(SHORT, known).items()}["uniform"] == [3]


def test_the_published_scores_are_read() -> None:
    published = read_scores(ROOT / "docs" / "laptop_scores.csv", "long")
    chosen(tuple(published))
    assert all(set(run.after) == set(SKILLS) for by_seed in published.values() for run in by_seed.values())


@pytest.mark.slow
def test_the_short_form_gives_the_control_another_runs_weights(
    pretended: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study("--form", "short", "--seeds", "0-1")
    assert len(pretended) == 8
    assert pretended[-1].startswith("yoked-seed-")
    study("--form", "short", "--seeds", "0-1")
    assert len(pretended) == 8


def test_another_study_in_the_folder_and_an_arm_that_is_none(tmp_path: Path) -> None:
    Plan("other.gin", (), (), (Point("uniform", ()),), (0,)).write(tmp_path / "uniform")
    for arguments, reason in (
        (["--output", str(tmp_path), "--arms", "uniform"], "another sweep is there"),
        (["--arms", "recap_t7"], "no arm recap_t7"),
    ):
        result = CliRunner().invoke(app, ["study", "laptop", *arguments])
        assert result.exit_code == 2
        assert reason in result.output


def test_what_is_under_way_is_no_result(tmp_path: Path, outcome: object) -> None:
    directory = point_folder(tmp_path, "uniform") / "seed-0"
    rows: dict[str, list[Outcome]] = {skill: [outcome(0, 1.0)] for skill in SKILLS}  # type: ignore[operator]
    write_outcomes(directory / "outcomes" / "step-000000.parquet", rows, {"seed": 0})
    assert write_report(SHORT, tmp_path) == []
    assert not (tmp_path / "report.md").exists()


@pytest.mark.slow
def test_a_real_study_of_two_steps(tmp_path: Path) -> None:
    from recap.studies.laptop.arms import Form
    from recap.studies.laptop.command import run_study

    form = Form("trial", "0-1", ("yoked",), ("train.steps = 2", "EXAMPLES = 8", "train.prompts_per_step = 16"))
    said: list[str] = []
    assert run_study(form, tmp_path, 2, said.append) == []
    assert "| `yoked` |" in (tmp_path / "report.md").read_text()
