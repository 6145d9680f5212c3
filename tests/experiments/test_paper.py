"""The files under experiments/paper hold the numbers of the paper and of its public code.

What is expected is transcribed from the notes on the method (sections 3 to 5 and 7) and from the public run files, a row
of a table at a time; nothing here is read from a gin file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from recap.data.domains import Domain
from recap.data.mixtures import Uniform
from recap.experiment.config import load_config
from recap.experiment.experiment import Experiment

ROOT = Path(__file__).resolve().parents[2]
PAPER = ROOT / "experiments" / "paper"

THINKING = (
    "{question} Output the thinking process in <think> </think> tags and the final answer (option) in"
    " <answer> </answer> tags."
)
ANSWER = "{question} Output the answer in <answer> </answer> tags."
BOX = "{question} Output the answer as <answer>[x1, y1, x2, y2]</answer>."

# Section 5: source -> objectives and examples.
SOURCES: dict[str, tuple[set[str], int]] = {
    "refcoco": ({"iou", "answer_format"}, 321_327),
    "onevision_ocr": ({"next_token"}, 66_468),
    "thinklite": ({"accuracy", "thinking_format"}, 69_997),
    "lisa": ({"iou", "thinking_format"}, 1_326),
    "geoqav": ({"accuracy", "thinking_format"}, 1_969),
    "sat": ({"accuracy", "thinking_format"}, 15_000),
    "scienceqa": ({"accuracy", "thinking_format"}, 6_218),
}
PROMPTS = {"refcoco": BOX, "onevision_ocr": ANSWER} | dict.fromkeys(
    ("thinklite", "lisa", "geoqav", "sat", "scienceqa"), THINKING
)
RLVR_ONLY = ("lisa", "geoqav", "sat", "scienceqa")
HYBRID = ("thinklite", "refcoco", "onevision_ocr")
REASONING = {"rlvr_only": ("geoqav", "sat", "scienceqa"), "hybrid": ("thinklite",)}


@dataclass(frozen=True)
class Row:
    """What sets a run apart; everything else is its setting's."""

    policy: str = "Uniform"
    policy_parameters: dict[str, Any] = field(default_factory=dict)
    domains: tuple[str, ...] | None = None  # None: all of the setting
    shares: tuple[float, ...] | None = None  # of the domains, over many steps; None: equal
    kl: float = 0.0
    frozen: bool = False
    limits: dict[str, int] = field(default_factory=dict)


PROPORTIONAL = {s: tuple(SOURCES[d][1] for d in ds) for s, ds in (("rlvr_only", RLVR_ONLY), ("hybrid", HYBRID))}
RECAP = {"window": 10, "temperature": 5.0, "alpha": None, "convergence": "v2"}
RELEASED = {"window": 10, "temperature": 5.0, "alpha": 0.5}


def reasoning_only(setting: str, **other: Any) -> Row:
    return Row(domains=REASONING[setting], **other)


ROWS = {
    f"{setting}_{name}.gin": row
    for setting in ("rlvr_only", "hybrid")
    for name, row in {
        "uniform": Row(),
        "reasoning_only": reasoning_only(setting),
        "propmix": Row(shares=PROPORTIONAL[setting]),
        "lwf": Row(kl=0.01),
        "kl_only": reasoning_only(setting, policy="KLOnly", kl=0.01),
        "static": Row("Static"),
        "recap": Row("Recap", RECAP),
    }.items()
} | {
    "rlvr_only_modomodo.gin": Row(shares=(0.3045, 0.2024, 0.2117, 0.2814), frozen=True),
    "hybrid_coreset.gin": Row(limits=dict.fromkeys(("refcoco", "onevision_ocr"), 69_997 // 2 // 2)),
    "ablations/rlvr_only_recap_temperature_1.gin": Row("Recap", RECAP | {"temperature": 1.0}),
    "ablations/rlvr_only_recap_alpha_0.75.gin": Row("Recap", RECAP | {"alpha": 0.75}),
    "ablations/rlvr_only_recap_alpha_0.25.gin": Row("Recap", RECAP | {"alpha": 0.25}),
    "ablations/rlvr_only_recap_window_50.gin": Row("Recap", RECAP | {"window": 50}),
}
AS_RELEASED = {
    "rlvr_only_uniform.gin": Row(),
    "rlvr_only_modomodo.gin": Row(frozen=True, limits={"geoqav": 881, "sat": 922, "scienceqa": 1_225}),
    "rlvr_only_recap.gin": Row("RecapReleased", RELEASED),
    "hybrid_reasoning_only.gin": reasoning_only("hybrid"),
    "hybrid_propmix.gin": Row(shares=PROPORTIONAL["hybrid"]),
    "hybrid_uniform.gin": Row(),
    "hybrid_coreset.gin": Row(),
    "hybrid_lwf.gin": Row(kl=0.01),
    "hybrid_recap.gin": Row("RecapReleased", RELEASED),
} | {
    f"rlvr_only_recap_{name}.gin": Row("RecapReleased", RELEASED | changed)
    for name, changed in {
        "temperature_1": {"temperature": 1.0},
        "temperature_50": {"temperature": 50.0},
        "alpha_0.25": {"alpha": 0.25},
        "alpha_0.75": {"alpha": 0.75},
        "alpha_1": {"alpha": 1.0},
        "alpha_annealed": {"alpha": "annealed", "steps": 328},
        "window_25": {"window": 25},
        "window_50": {"window": 50},
    }.items()
}
ALL = ROWS | {f"released/{name}": row for name, row in AS_RELEASED.items()}


@pytest.fixture(autouse=True)
def _at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def load(name: str) -> Experiment:
    return load_config(PAPER / name).experiment


def is_hybrid(name: str) -> bool:
    return Path(name).name.startswith("hybrid")


def test_every_file_is_a_row_and_every_row_a_file() -> None:
    files = {str(file.relative_to(PAPER)) for file in PAPER.rglob("*.gin") if not file.name.startswith("_")}
    assert files == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_valid_without_the_data(name: str) -> None:
    load(name).check()


@pytest.mark.parametrize("name", ALL)
def test_recipe(name: str) -> None:
    """Section 5 and, for what it leaves open, section 7."""
    experiment = load(name)
    expected = {
        "prompts_per_step": 16,
        "accumulation_steps": 2 if is_hybrid(name) else 1,
        "steps": 500 if is_hybrid(name) else 328,
        "seed": 42,
        "mixed_precision": "bf16",
        "signal": "reward",
        "evaluate_every": None,
    }
    assert {key: getattr(experiment, key) for key in expected} == expected
    assert experiment.rollout.group_size == 4
    optimizer = experiment.optimizer
    assert (optimizer.learning_rate, optimizer.warmup_fraction, optimizer.schedule) == (1e-6, 0.1, "linear")
    assert (optimizer.betas, optimizer.epsilon, optimizer.weight_decay) == ((0.9, 0.999), 1e-8, 0.0)
    assert (experiment.grpo.clip, experiment.grpo.scale) == (0.2, "group")
    model: Any = experiment.model
    assert model.path == f"Qwen/Qwen2.5-VL-{'7B' if is_hybrid(name) else '3B'}-Instruct"
    assert model.max_pixels == 401_408


@pytest.mark.parametrize("name", ALL)
def test_domains_and_their_objectives(name: str) -> None:
    experiment, row = load(name), ALL[name]
    assert tuple(d.name for d in experiment.domains) == (row.domains or (HYBRID if is_hybrid(name) else RLVR_ONLY))
    for domain in experiment.domains:
        assert set(domain.objectives) == SOURCES[domain.name][0]
        assert set(domain.supervised) == SOURCES[domain.name][0] & {"next_token"}
        assert domain.prompt == PROMPTS[domain.name]


@pytest.mark.parametrize("name", ALL)
def test_what_makes_it_this_row(name: str) -> None:
    experiment, row = load(name), ALL[name]
    policy: Any = experiment.build_reweighting()
    assert type(policy).__name__ == row.policy
    assert {key: getattr(policy, key) for key in row.policy_parameters} == row.policy_parameters
    asked = policy.kl_coefficient
    assert (experiment.grpo.kl_coefficient if asked is None else asked) == row.kl
    assert experiment.model.freeze_vision == row.frozen  # type: ignore[attr-defined]
    assert {d.name: limit for d in experiment.domains if (limit := getattr(d.source, "limit", None))} == row.limits
    if row.policy in ("Uniform", "KLOnly"):
        assert set(policy.weights.values()) == {1.0}


@pytest.mark.parametrize("name", ALL)
def test_shares_of_the_domains(name: str) -> None:
    experiment, row = load(name), ALL[name]
    drawn = dict.fromkeys((domain.name for domain in experiment.domains), 0)
    steps = 1_200  # a multiple of the turns of 1, 3 and 4 domains
    for step in range(steps):
        for domain, count in experiment.mixture.allocate(experiment.domains, 16, step).items():
            drawn[domain] += count
    shares = row.shares or (1.0,) * len(drawn)
    for count, share in zip(drawn.values(), shares, strict=True):
        assert count / (16 * steps) == pytest.approx(share / sum(shares), abs=0.005)


@pytest.mark.parametrize("name", ROWS)
def test_the_reading_of_the_paper(name: str) -> None:
    experiment = load(name)
    assert (experiment.objective_scope, experiment.weights_act_on) == ("shared", "loss")
    assert experiment.grpo.normalization == "sequence"
    assert experiment.rollout.max_new_tokens == (2048 if is_hybrid(name) else 1024)
    assert experiment.rollout.temperature == 1.0
    if ROWS[name].shares:  # of steps, or of micro-batches
        assert turn_size(experiment) == (8 if is_hybrid(name) else 16)
    else:
        assert isinstance(experiment.mixture, Uniform)


@pytest.mark.parametrize("name", AS_RELEASED)
def test_the_reading_of_the_public_code(name: str) -> None:
    """Section 7, and TRL 0.16's defaults where the public run files leave them."""
    experiment = load(f"released/{name}")
    assert (experiment.objective_scope, experiment.weights_act_on) == ("per_domain", "reward")
    assert experiment.grpo.normalization == "token"
    assert experiment.rollout.max_new_tokens == (2048 if is_hybrid(name) else 256)
    assert experiment.rollout.temperature == 0.9
    assert turn_size(experiment) == (8 if is_hybrid(name) and len(experiment.domains) > 1 else 16)
    if is_hybrid(name) and (ocr := by_name(experiment).get("onevision_ocr")):
        assert ocr.source.max_image_side == 128  # type: ignore[attr-defined]


def turn_size(experiment: Experiment) -> int:
    """Prompts in a batch of one domain: what all shares of a step are multiples of."""
    steps = [experiment.mixture.allocate(experiment.domains, 16, step) for step in range(24)]
    return math.gcd(*(count for step in steps for count in step.values()))


def by_name(experiment: Experiment) -> dict[str, Domain]:
    return {domain.name: domain for domain in experiment.domains}


def test_sizes_of_the_public_coreset() -> None:
    def ocr(name: str) -> Any:
        return by_name(load(f"released/hybrid_{name}.gin"))["onevision_ocr"].source

    assert (ocr("coreset").limit_per_config, ocr("uniform").limit_per_config) == (5_000, 10_000)


def test_domains_take_turns_until_lisa_is_exhausted() -> None:
    """Where the 328 steps come from: 82 whole batches of LISA's 1,326 prompts, times four domains."""
    assert load("released/rlvr_only_uniform.gin").steps == SOURCES["lisa"][1] // 16 * 4


def test_what_the_public_code_tracks() -> None:
    kinds = load("released/hybrid_recap.gin").build_reweighting().signal_kinds
    assert kinds == {
        "thinklite/accuracy": "reward",
        "thinklite/thinking_format": "reward",
        "refcoco/iou": "reward",
        "refcoco/answer_format": "reward",
        "onevision_ocr/next_token": "loss",
    }
    assert len(load("released/rlvr_only_recap.gin").objectives) == 8  # four domains, two objectives each


@pytest.mark.parametrize(
    ("setting", "ratios"),
    [
        ("rlvr_only", {"iou": 2, "accuracy": 2, "thinking_format": 1}),
        ("hybrid", {"accuracy": 2, "iou": 2, "thinking_format": 1, "answer_format": 1, "next_token": 1}),
    ],
)
def test_static_weights(setting: str, ratios: dict[str, int]) -> None:
    weights = load(f"{setting}_static.gin").build_reweighting().weights
    scale = len(ratios) / sum(ratios.values())  # to mean 1
    assert weights == pytest.approx({name: scale * ratio for name, ratio in ratios.items()})


def test_modomodo_rows_follow_from_its_rates() -> None:
    rates = {"geoqav": 0.2024, "sat": 0.2117, "scienceqa": 0.2814}
    assert AS_RELEASED["rlvr_only_modomodo.gin"].limits == {
        name: round(1_326 * rate / 0.3045) for name, rate in rates.items()
    }
