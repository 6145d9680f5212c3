"""A search runs what optuna proposes, tells it what came of it, and goes on where it stopped."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recap.cli import app
from recap.sweeps import search as module
from recap.sweeps.plan import Child, read_plan
from recap.sweeps.runner import Runner
from recap.sweeps.search_axes import search_axis


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("adamw.learning_rate = 1e-5, 1e-4", "write 'name = log"),
        ("adamw.learning_rate = log(1e-3, 1e-5)", "the lower end > 0 comes first"),
        ("adamw.learning_rate = log(0, 1)", "the lower end > 0 comes first"),
        ("rollout.group_size = integer(4.5, 8)", "two numbers"),
        ("rollout.group_size = integer(4)", "two numbers"),
        ("train.reweighting = choice(@reweighting.recap,)", "write 'name = log"),
    ],
)
def test_an_axis_that_is_none(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="--search") as caught:
        search_axis(text)
    assert reason in str(caught.value)


def test_values_are_written_as_a_gin_file_has_them() -> None:
    policy = search_axis("train.reweighting = choice(@reweighting.recap, @reweighting.uniform)")
    assert policy.binding({"train.reweighting": "@reweighting.uniform"}) == "train.reweighting = @reweighting.uniform"
    rate = search_axis("adamw.learning_rate = log(1e-6, 1e-3)")
    assert rate.binding({"adamw.learning_rate": 1.5e-05}) == "adamw.learning_rate = 1.5e-05"
    size = search_axis("mine/rollout.group_size = integer(4, 8)")
    assert size.binding({"mine/rollout.group_size": 8}) == "mine/rollout.group_size = 8"


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    result = search(tmp_path, 1)
    assert result[0] == 2
    assert 'pip install "recap-rlvr[search]"' in result[1]


def search(output: Path, trials: int, *more: str) -> tuple[int, str]:
    words = ["search", "quickstart", "-s", "adamw.learning_rate = log(1e-5, 1e-3)", "--metric", "capability/reading"]
    result = CliRunner().invoke(app, [*words, "--trials", str(trials), "--output", str(output), *more])
    return result.exit_code, result.output


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs that end at once, the better the nearer their rate is to 1e-4; and what was started. Trial 1 fails."""
    pytest.importorskip("optuna")
    started: list[str] = []

    def command(self: Runner, child: Child) -> list[str]:
        started.append(child.name)
        child.directory.mkdir(parents=True)
        (rate,) = (float(binding.partition("=")[2]) for binding in child.point.bindings)
        (child.directory / "score.json").write_text(json.dumps(1 - abs(rate - 1e-4) / 1e-3 + 0.01 * child.seed))
        return [sys.executable, "-c", f"raise SystemExit({int(child.point.label == 'trial-1')})"]

    monkeypatch.setattr(Runner, "command", command)
    monkeypatch.setattr(
        Child, "finished", lambda child, steps: child.directory.is_dir() and child.point.label != "trial-1"
    )
    monkeypatch.setattr(
        module, "_measured", lambda directory, metric: json.loads((directory / "score.json").read_text())
    )
    return started


def test_it_finds_the_rate_and_goes_on(pretended: list[str], tmp_path: Path) -> None:
    code, output = search(tmp_path / "search", 3, "--seeds", "0-1", "--jobs", "4")
    assert code == 0, output
    assert sorted(pretended) == sorted(f"trial-{n}-seed-{seed}" for n in range(3) for seed in (0, 1))
    assert "trial-1: failed" in output
    code, output = search(tmp_path / "search", 5, "--seeds", "0-1", "--jobs", "4")
    assert code == 0, output
    assert len(pretended) == 10
    plan = read_plan(tmp_path / "search")
    assert [point.label for point in plan.points] == [f"trial-{n}" for n in range(5)]
    scores = {
        point.label: json.loads((tmp_path / "search" / point.label / "seed-0" / "score.json").read_text())
        for point in plan.points
        if point.label != "trial-1"
    }
    best = max(scores, key=lambda label: scores[label])
    shown = next(line for line in output.splitlines() if line.split("│")[1:2] and line.split("│")[1].strip().isdigit())
    assert shown.split("│")[1].strip() == best.removeprefix("trial-")
    assert float(shown.split("│")[2]) == pytest.approx(scores[best] + 0.005, rel=1e-4)  # the mean over both seeds
    code, output = search(tmp_path / "search", 5, "--minimise", "--seeds", "0-1")
    assert code == 2
    assert "another search is there" in output


@pytest.mark.slow
def test_a_real_search_of_two_trials(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    small = (
        "train.steps = 1",
        "train.prompts_per_step = 8",
        "reading/Capability.examples = 8",
        "grounding/Capability.examples = 8",
    )
    bound = [word for binding in small for word in ("-b", binding)]
    code, output = search(tmp_path / "search", 2, *bound)
    assert code == 0, output
    assert output.count("capability/reading = ") == 2
    code, output = search(tmp_path / "search", 3, *bound, "--metric", "capability/flying")
    assert code == 2
