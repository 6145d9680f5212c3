"""Every arm of the laptop study is a valid experiment that differs from uniform replay in what its file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from recap.experiment.config import load_config
from recap.experiment.experiment import Experiment

ROOT = Path(__file__).resolve().parents[2]
ARMS = sorted((ROOT / "experiments" / "laptop").glob("[!_]*.gin"))
PROTOCOL = (ROOT / "docs" / "laptop_protocol.md").read_text(encoding="utf-8")


def load(arm: str) -> Experiment:
    return load_config(ROOT / "experiments" / "laptop" / f"{arm}.gin", allow_unused=True).experiment


@pytest.fixture(autouse=True)
def _at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("file", ARMS, ids=lambda file: file.stem)
def test_an_arm_is_valid_and_measured_as_the_others(file: Path) -> None:
    experiment = load(file.stem)
    assert experiment.check() == []
    assert {capability.examples for capability in experiment.capabilities} == {1024}
    assert len(experiment.capabilities) == 8
    assert (experiment.steps, experiment.prompts_per_step) == (80, 80)
    name = file.stem.removeprefix("reasoning_only") if file.stem.startswith("reasoning_only_") else file.stem
    assert f"`{name}`" in PROTOCOL


def test_what_the_arms_change() -> None:
    uniform = load("uniform")
    drawn = uniform.mixture.allocate(uniform.domains, 80, 0)
    assert (drawn["grounding"] + drawn["reading"]) / 80 == pytest.approx(0.375)
    assert load("kl_on_replay").grpo.kl_on == "replay"
    assert [load(f"kl{arm}").kl_coefficient for arm in ("_low", "", "_high")] == [0.01, 0.04, 0.16]
    for percent in (1, 5, 25, 50):
        arm = load(f"replay_{percent}_percent")
        counts = [arm.mixture.allocate(arm.domains, 80, step) for step in range(80)]
        share = sum(step["grounding"] + step["reading"] for step in counts) / 6400
        assert share == pytest.approx(percent / 100, abs=0.005)
