"""Every shipped experiment file is valid, and those of the paper hold the paper's numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from recap.config import load_config
from recap.experiment import Experiment

ROOT = Path(__file__).resolve().parents[2]
WHOLE = [*ROOT.glob("experiments/*.gin"), *ROOT.glob("experiments/paper/[!_]*.gin")]


@pytest.fixture(autouse=True)
def _at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("file", sorted(WHOLE), ids=lambda path: str(path.name))
def test_valid(file: Path) -> None:
    config = load_config(file)
    assert config.experiment.objectives
    for part in config.unused:
        assert file.name == "quickstart_reasoning_only.gin", part  # leaves out domains that it includes


def paper(name: str) -> Experiment:
    return load_config(ROOT / "experiments" / "paper" / name).experiment


@pytest.mark.parametrize("name", ["rlvr_only_recap.gin", "hybrid_recap.gin"])
def test_what_both_settings_of_the_paper_share(name: str) -> None:
    experiment = paper(name)
    assert experiment.prompts_per_step == 16
    assert experiment.rollout.group_size == 4
    assert experiment.optimizer.learning_rate == 1e-6
    assert experiment.optimizer.warmup_fraction == 0.1
    assert experiment.optimizer.betas == (0.9, 0.999)
    assert experiment.optimizer.epsilon == 1e-8
    assert experiment.optimizer.schedule == "linear"
    assert experiment.grpo.kl_coefficient == 0
    policy = experiment.build_reweighting()
    assert (policy.window, policy.temperature) == (10, 5.0)  # type: ignore[attr-defined]


def test_hybrid_mixes_reinforcement_and_next_token_prediction() -> None:
    experiment = paper("hybrid_recap.gin")
    assert experiment.steps == 500
    assert experiment.accumulation_steps == 2
    assert experiment.rollout.max_new_tokens == 2048
    assert {objective.name: objective.supervised for objective in experiment.objectives} == {
        "accuracy": False,
        "thinking_format": False,
        "iou": False,
        "answer_format": False,
        "next_token": True,
    }


def test_rlvr_only_has_four_domains_of_two_rewards() -> None:
    experiment = paper("rlvr_only_recap.gin")
    assert [domain.name for domain in experiment.domains] == ["lisa", "geoqav", "sat", "scienceqa"]
    assert all(len(domain.verifiers) == 2 for domain in experiment.domains)
