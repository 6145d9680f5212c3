"""`recap report`: what the page says is what a hand computes, whatever the runs have and have not."""

from __future__ import annotations

import base64
import math
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mlflow import MlflowClient
from scipy import stats
from typer.testing import CliRunner

from recap.cli import app
from recap.evaluation.outcomes import Outcome, write_outcomes
from recap.experiment.config import LoadedConfig
from recap.report.changes import changes_of, differences_of, frontier, mixture_frontier
from recap.report.cohort import cohort_of
from recap.report.gather import reported_runs
from recap.report.words import how_real, verdicts
from recap.runs.run import Run

Make = Callable[..., Path]
BASE = {"sums": [1, 1, 1, 0], "words": [1, 1, 0, 0]}


class Page(HTMLParser):
    """What a page fetches, what its pictures are for, its rows and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.alts: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(text)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.addresses += [str(found[name]) for name in ("src", "href", "srcset", "action") if found.get(name)]
        if tag == "img":
            self.alts.append(str(found.get("alt")))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    @property
    def numbers(self) -> list[list[str]]:
        """The rows of changes and differences."""
        return [row for row in self.rows if len(row) == 9]

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def report(*arguments: object) -> tuple[Page, str]:
    result = CliRunner().invoke(app, ["report", *map(str, arguments)], env={"COLUMNS": "250", "TERM": "dumb"})
    assert result.exit_code == 0, result.output
    path = re.search(r"wrote (\S+)", result.output)
    assert path is not None
    return Page(Path(path[1]).read_text(encoding="utf-8")), result.output


def two_policies(made: Make) -> None:
    made("uniform", 0, {0: BASE, 5: BASE, 9: {"sums": [1, 0, 0, 0], "words": [1, 1, 1, 0]}})
    made("uniform", 1, {0: BASE, 5: BASE, 9: {"sums": [1, 1, 0, 0], "words": [1, 1, 1, 1]}})
    made("recap", 0, {0: BASE, 5: BASE, 9: {"sums": [1, 1, 1, 0], "words": [1, 1, 1, 0]}})
    made("recap", 1, {0: BASE, 5: BASE, 9: {"sums": [1, 1, 0, 1], "words": [1, 1, 1, 1]}})


def test_the_numbers_are_those_of_a_hand(made: Make, tmp_path: Path) -> None:
    two_policies(made)
    page, _ = report(tmp_path / "runs", "--baseline", "uniform")
    # Seeds of uniform lost 0.5 and 0.25 of sums: mean -0.375, sd 0.1768; t of one degree of freedom is 12.706.
    half = stats.t.ppf(0.975, 1) * 0.125
    expected = [
        "uniform",
        "sums",
        "0.750",
        "0.375",
        "-0.375",
        f"[{-0.375 - half:+.3f}, {-0.375 + half:+.3f}]",
        "2 seeds",
    ]
    assert expected in [row[:7] for row in page.rows]
    # On the same seeds recap ended 0.5 and 0.25 higher.
    row = next(row for row in page.numbers if row[:2] == ["recap", "sums"] and row[4] == "+0.375")
    assert row[2:4] == ["0.375", "0.750"]
    assert (
        "4 runs; 2 groups; uniform with 2 seeds; recap with 2 seeds; 2 capabilities of 4 held-out examples, at step 9"
        in page.text
    )
    assert "uniform. Gained nothing that the intervals show. Forgot nothing that the intervals show." in page.text
    assert "12.7 standard errors" in page.text
    # Of uniform's sums 1/3 and 2/3 are left, of its words all: indices 1/3 and 1/6.
    half = stats.t.ppf(0.975, 1) / 12
    assert f"Forgetting index 0.250 [{0.25 - half:.3f}, {0.25 + half:.3f}]" in page.text


def test_the_page_needs_nothing_else(made: Make, tmp_path: Path) -> None:
    two_policies(made)
    page, _ = report(tmp_path / "runs")
    assert page.addresses
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert all(len(alt) > 10 for alt in page.alts)
    raw = (tmp_path / "runs" / "report.html").read_text()
    assert not re.search(r"https?://|@import|url\(|<script|<link", raw)
    for address in page.addresses:  # and no figure asks for anything
        inside = base64.b64decode(address.partition(",")[2]).decode("utf-8", "ignore")
        assert not re.search(r"(?:xlink:)?href=\"(?!#)|url\((?!#)|<image", inside)


def test_what_is_certain_is_said_and_what_is_not_is_open(made: Make, tmp_path: Path) -> None:
    after = ([0.4, 0.5, 0.6], [0.5, 0.5, 0.5], [0.6, 0.5, 0.4])
    for seed in range(3):
        moved = {"sums": [0.1 + 0.01 * seed] * 4, "words": [after[seed][0]] * 4}
        made("recap", seed, {0: {"sums": [0.9] * 4, "words": [0.5] * 4}, 9: moved})
    found = cohort_of(reported_runs([str(tmp_path / "runs")]))
    changes = changes_of(found)
    by_name = {change.capability: change for change in changes}
    assert by_name["sums"].mean == pytest.approx(-0.79)
    assert by_name["sums"].by_seed == pytest.approx([-0.8, -0.79, -0.78])
    half = stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    assert by_name["sums"].interval == pytest.approx((-0.79 - half, -0.79 + half))
    said = verdicts(found, changes)["recap"]
    assert "Forgot sums (-0.790 [" in said
    assert "Open: words; its interval holds 0 (mean +0.000)." in said
    assert "1 of 2 intervals leave out 0" in how_real(changes, [])[1]


def test_one_seed_is_judged_by_its_examples(made: Make, tmp_path: Path) -> None:
    before, after = [1.0] * 12 + [0.0] * 4, [1.0] * 4 + [0.0] * 12
    made("recap", 3, {0: {"sums": before}, 9: {"sums": after}})
    page, _ = report(tmp_path / "runs" / "recap-3")
    sd = math.sqrt(16 / 15 * (0.5 - 0.25))  # eight of sixteen fell by one
    half = stats.t.ppf(0.975, 15) * sd / 4
    row = next(row for row in page.numbers if row[:2] == ["recap", "sums"])
    assert row[4:7] == ["-0.500", f"[{-0.5 - half:+.3f}, {-0.5 + half:+.3f}]", "1 seed, its examples"]
    assert row[7:] == ["–", "lower"]
    assert "over the examples of one seed" in page.text
    assert "test/4: score 1.00 before, 0.00 after" in page.text
    assert "Without pictures, where there are any" in page.text
    assert "nothing says where it is in MLflow" in page.text


def test_curves_come_from_what_was_logged(made: Make, tmp_path: Path) -> None:
    steps = {1: 0.2, 2: 0.4}
    logged = {"reward/accuracy": steps, "weight/accuracy": {1: 1.0, 2: 1.25}, "thinking_words/sums": {1: 9.0, 2: 3.0}}
    made("recap", 0, {0: BASE, 9: BASE}, {**logged, "reward/sums/accuracy": {1: 0.9}})
    page, _ = report(tmp_path / "runs")
    alts = " ".join(page.alts)
    assert "accuracy 0.20 to 0.40 (recap)" in alts
    assert "recap: accuracy 1.250" in alts
    assert "thinking words: sums 9.00 to 3.00 (recap)" in alts
    assert "reward in training, recap: accuracy 0.400" in alts
    assert "a policy that measures no convergence logs none" in page.text


def test_what_does_not_compare_is_left_out_with_the_reason(made: Make, tmp_path: Path) -> None:
    two_policies(made)
    made("static", 0, {0: BASE, 5: BASE})
    made("alone", 0, {0: BASE})
    made("kl", 0, {0: BASE, 9: {"sums": [1, 1, 1, 1], "words": [0, 0, 0, 0]}}, model="another")
    page, output = report(tmp_path / "runs")
    for name, reason in (("static-0", "other steps"), ("kl-0", "other base")):
        assert re.search(rf"left out: \S*{name}: .*{reason}", output)
        assert reason in page.text
    assert re.search(r"alone-0: not evaluated both before its first step and later", page.text)
    assert not [row for row in page.numbers if row and row[0] in ("static", "kl")]


def test_a_run_without_outcomes_is_drawn_from_its_scores(made: Make, tmp_path: Path) -> None:
    directory = tmp_path / "runs" / "old"
    directory.mkdir(parents=True)
    (directory / "run.json").write_text('{"mlflow_run_id": null, "command": null}')
    (directory / "operative_config.gin").write_text("train.reweighting = @reweighting.famo\ntrain.seed = 7\n")
    (directory / "tracking").mkdir()
    scores = {0: {"capability/sums": 0.8, "capability_standard_error/sums": 0.03}}
    scores[9] = {"capability/sums": 0.6, "capability_standard_error/sums": 0.04}
    lines = (f'{{"step": {step}, "at": 0, "values": {values}}}\n'.replace("'", '"') for step, values in scores.items())
    (directory / "tracking" / "queue.jsonl").write_text("".join(lines))
    page, _ = report(directory)
    row = next(row for row in page.numbers if row[:2] == ["famo", "sums"])
    assert row[2:6] == ["0.800", "0.600", "-0.200", "[-0.298, -0.102]"]  # 1.96 · 0.05
    assert "it kept no outcomes of single examples" in page.text
    assert "as if its examples before and after were others" in page.text


def test_the_frontier_by_hand(made: Make, tmp_path: Path, outcome: Callable[..., Outcome]) -> None:
    made("recap", 0, {0: BASE, 9: {"sums": [1, 0, 0, 0], "words": [1, 1, 1, 0]}})
    rows = {name: [outcome(n, score) for n, score in enumerate(of)] for name, of in BASE.items()}
    folder = tmp_path / "runs" / "recap-0" / "interpolation"
    write_outcomes(
        folder / "alpha-0.50.parquet", {**rows, "words": [outcome(n, 1.0) for n in range(4)]}, {"alpha": 0.5}
    )
    (run,) = reported_runs([str(tmp_path / "runs")])
    # sums keeps a third of its score, words all: the index is 1 - (1/3 + 1) / 2; words rose by 1/4, sums fell.
    assert frontier(run) == {0: (0, 0), 9: (pytest.approx(1 / 3), pytest.approx(0.125))}
    assert mixture_frontier(run) == {0.5: (0, pytest.approx(0.25))}
    page, _ = report(tmp_path / "runs")
    assert "recap ends at a gain of 0.125 and a forgetting of 0.333" in " ".join(page.alts)


def test_groups_are_named_by_what_tells_them_apart(made: Make, tmp_path: Path) -> None:
    after = {0: BASE, 9: BASE}
    for number, bound in enumerate(("recap.window = 3\nrecap.alpha = 1", "recap.window = 10\nrecap.alpha = 1")):
        made("recap", number, after, configuration=f"train.seed = {number}\n{bound}\n")
    made("uniform", 0, after, settings={"reweighting": "Uniform", "domains": "sums, words"})
    made("uniform", 1, after, configuration=f"train.reweighting = @reweighting.uniform\nx = '{50 * 'long'}'")
    runs = reported_runs([str(tmp_path / "runs")])
    labels = ["recap, window = 3", "recap, window = 10", "uniform (2 domains)", "uniform (1 domain)"]
    labels[:2] = [f"{label} (1 domain)" for label in labels[:2]]
    assert list(cohort_of(runs).groups) == labels
    assert next(iter(cohort_of(runs, labels[2]).groups)) == labels[2]
    with pytest.raises(ValueError, match="2 groups are 'uniform': name one of"):
        cohort_of(runs, "uniform")
    with pytest.raises(ValueError, match="no group 'famo'"):
        cohort_of(runs, "famo")


def test_groups_without_a_common_seed_have_no_difference(made: Make, tmp_path: Path) -> None:
    made("uniform", 0, {0: BASE, 9: BASE})
    made("recap", 1, {0: BASE, 9: BASE})
    cohort = cohort_of(reported_runs([str(tmp_path / "runs")]))
    assert differences_of(cohort) == []
    page, _ = report(tmp_path / "runs")
    assert "they share no seed" in page.text


def test_a_page_holds_no_password(made: Make, tmp_path: Path) -> None:
    directory = made("recap", 0, {0: BASE, 9: BASE})
    place = '{"run_id": "0", "uri": "nosuchstore://someone:secret@nowhere.invalid/runs"}'
    (directory / "tracking" / "where.json").write_text(place)
    page, output = report(directory)
    assert "MLflow at nosuchstore://someone:***@nowhere.invalid/runs does not answer" in page.text
    assert "secret" not in page.text + output


def test_what_is_not_there_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for argument, reason in ((tmp_path / "empty", "no run there"), (tmp_path / "gone", "neither a directory")):
        result = CliRunner().invoke(app, ["report", str(argument)], env={"COLUMNS": "250"})
        assert result.exit_code == 2
        assert reason in result.output


def test_a_real_run_gets_its_pictures_and_its_figures_in_mlflow(
    small: Callable[..., LoadedConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(
        "train.steps = 1",
        "train.capabilities = [@counting/Capability()]",
        "Capability.examples = 12",
        "counting/Capability.max_new_tokens = 64",
        "adamw.learning_rate = 1e-2",
        "backends.tiny_qwen2_5_vl.weights = None",
    )
    run = Run(
        config.experiment, tmp_path / "run", name="test", operative_config=config.operative, command=config.command
    )
    run.execute()
    page, output = report(tmp_path / "run")
    assert "report/ of 1 run" in output
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    kept = {item.path for item in client.list_artifacts(str(run.tracker.run_id), "report")}
    assert {"report/report.html", "report/changes.svg", "report/rewards.svg"} <= kept
    forgot = re.findall(r"score \d\.\d\d before", page.text)
    pictures = [address for address in page.addresses if address.startswith("data:image/png")]
    assert forgot
    same, _ = report(str(run.tracker.run_id), "--output", tmp_path / "by_id.html")
    assert [row for row in same.numbers if row[0] == "recap"] == [row for row in page.numbers if row[0] == "recap"]
    assert "in MLflow alone" in same.text
    assert len(pictures) == len(forgot)
