"""Loss and gradient against TRL's GRPOTrainer, on the same tensors and the same tiny model; text and images.

With one domain our L is TRL's loss. TRL's trainer is not constructed, as it wants a Hub processor and a data set: its loss
runs on an object that holds the settings which the loss reads.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recap.data.prompts import Asking
from recap.learning.advantages import step_advantages
from recap.learning.batch import Batch, count
from recap.learning.microbatch import reinforcement_batches
from recap.learning.passes import ReinforcementPass, StepWeights
from recap.model.scoring import Scorer
from recap.optimization.grpo import GRPO, WeightsActOn
from recap.rewards.requests import ScoreResult
from recap.rewards.table import RewardTable
from recap.sampling.rollout import Rollout
from registry.backends.base import LoadedModel
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL
from registry.replay.arithmetic import Arithmetic
from registry.replay.counting import Counting

trl = pytest.importorskip("trl", reason='pip install "recap-rlvr[test]"')
grpo_trainer = pytest.importorskip("trl.trainer.grpo_trainer")

GROUP_SIZE, MAX_NEW_TOKENS, PROMPTS, TEMPERATURE = 4, 6, 3, 0.8
ROWS = PROMPTS * GROUP_SIZE


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    loaded = TinyQwen2_5_VL(weights="random").load()
    loaded.model.train()
    return loaded


@pytest.fixture(scope="module")
def scorer(tiny: LoadedModel) -> Scorer:
    """No token is forbidden: TRL knows of none."""
    return Scorer(tiny.model, [])


@pytest.fixture(scope="module")
def theirs(tiny: LoadedModel) -> Any:
    """The same model with TRL's language-model head."""
    model = copy.deepcopy(tiny.model)
    grpo_trainer.add_fused_lm_head(model, temperature=TEMPERATURE, outputs=("log_probs", "entropy"))
    return model


@pytest.fixture(scope="module", params=["text", "image"])
def rollout(request: pytest.FixtureRequest, tiny: LoadedModel) -> Rollout:
    source = Arithmetic() if request.param == "text" else Counting()
    prompts = [Asking().ask(example) for example in source.take(PROMPTS)]
    encoded = tiny.encode([p.text for p in prompts], [p.example for p in prompts], torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([6, 3, 1, 6, 4, 5, 2, 6, 6, 3, 5, 4])
    mask = (torch.arange(MAX_NEW_TOKENS) < lengths[:, None]).long()
    allowed = [i for i in range(20, 60) if i not in {*tiny.forbidden_token_ids, *tiny.eos_token_ids}]
    ids = torch.tensor(allowed)[torch.randint(len(allowed), (ROWS, MAX_NEW_TOKENS), generator=generator)]
    ids = torch.where(mask == 1, ids, tiny.pad_token_id)
    truncated = lengths == MAX_NEW_TOKENS
    return Rollout(prompts, encoded, ids, mask, [""] * ROWS, truncated)


def rewards_of(objectives: int = 1) -> Tensor:
    return torch.rand(PROMPTS, GROUP_SIZE, objectives, generator=torch.Generator().manual_seed(2))


def gradient(model: Any) -> Tensor:
    found = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in model.parameters()])
    model.zero_grad()
    return found


def ours(
    loaded: LoadedModel,
    scorer: Scorer,
    rollout: Rollout,
    grpo: GRPO,
    *,
    old_log_probs: Tensor | None = None,
    reference: Tensor | None = None,
    rewards: Tensor | None = None,
    weights: Tensor | None = None,
    act_on: WeightsActOn = "loss",
) -> tuple[float, Tensor]:
    """L and its gradient, for one domain."""
    rewards = rewards_of() if rewards is None else rewards
    weights = torch.ones(rewards.shape[-1]) if weights is None else weights
    table = RewardTable(rewards, torch.ones_like(rewards, dtype=torch.bool), torch.zeros(PROMPTS, dtype=torch.long))
    batch = Batch([rollout], [table], [], [ScoreResult([], {})])
    counts, _ = count(batch, torch.zeros(1, rewards.shape[-1]), grpo, MAX_NEW_TOKENS, lambda sums: sums)
    (advantages,) = step_advantages([table], weights, num_domains=1, scale=grpo.scale, act_on=act_on)
    (item,) = reinforcement_batches(loaded, rollout, table, advantages, grpo, size=PROMPTS, skip=reference is None)
    assert item is not None
    run_pass = ReinforcementPass(
        item,
        StepWeights(weights, counts),
        scorer,
        grpo,
        TEMPERATURE,
        grpo.kl_coefficient,
        None if reference is None else lambda _: reference,
        old_log_probs,
    )
    loss = run_pass().parts.loss
    loss.backward()
    return float(loss.detach()), gradient(loaded.model)


def trl_trainer(model: Any, **settings: Any) -> Any:
    from accelerate import Accelerator

    trainer = grpo_trainer.GRPOTrainer.__new__(grpo_trainer.GRPOTrainer)
    defaults = {
        "loss_type": "grpo",
        "importance_sampling_level": "token",
        "epsilon_low": 0.2,
        "epsilon_high": 0.2,
        "beta": 0.0,
        "max_completion_length": MAX_NEW_TOKENS,
        "top_entropy_quantile": 1.0,
        "off_policy_mask_threshold": None,
        "use_vllm": False,
        "aux_loss_enabled": False,
        "_entropy_bonus_enabled": False,
        "current_gradient_accumulation_steps": 1,
        "args": SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        "accelerator": Accelerator(cpu=True),
        "model": model,
        "_metrics": {"train": defaultdict(list)},
    }
    for name, value in {**defaults, **settings}.items():
        setattr(trainer, name, value)
    return trainer


def trl_loss(
    model: Any,
    loaded: LoadedModel,
    rollout: Rollout,
    advantages: Tensor,
    *,
    mask_truncated: bool = False,
    old_log_probs: Tensor | None = None,
    reference: Tensor | None = None,
    importance_sampling_ratio: Tensor | None = None,
    **settings: Any,
) -> tuple[float, Tensor]:
    """TRL's loss and its gradient; every completion brings its own copy of the prompt and its picture."""
    encoded, mask = rollout.encoded.inputs, rollout.completion_mask
    if mask_truncated:
        mask = mask * ~rollout.truncated[:, None]
    inputs: dict[str, Any] = {
        "prompt_ids": encoded["input_ids"].repeat_interleave(GROUP_SIZE, 0),
        "prompt_mask": encoded["attention_mask"].repeat_interleave(GROUP_SIZE, 0),
        "completion_ids": rollout.completion_ids,
        "completion_mask": mask,
        "advantages": advantages,
        "old_per_token_logps": old_log_probs,
        "ref_per_token_logps": reference,
        "importance_sampling_ratio": importance_sampling_ratio,
        "num_items_in_batch": mask.sum(),
    }
    if "pixel_values" in encoded:
        patches = encoded["pixel_values"].view(PROMPTS, -1, encoded["pixel_values"].shape[-1])  # pictures of one size
        inputs["pixel_values"] = patches.repeat_interleave(GROUP_SIZE, 0).flatten(0, 1)
        inputs["image_grid_thw"] = encoded["image_grid_thw"].repeat_interleave(GROUP_SIZE, 0)
        inputs["num_images"] = [1] * ROWS
        types = (inputs["prompt_ids"] == loaded.model.config.image_token_id).int()
        inputs["mm_token_type_ids"] = torch.cat([types, torch.zeros_like(rollout.completion_ids).int()], 1)
    loss = trl_trainer(model, **settings).compute_loss(model, inputs)
    loss.backward()
    return float(loss.detach()), gradient(model)


def trl_advantages(rewards: np.ndarray, weights: np.ndarray, aggregation: str, scale: str) -> np.ndarray:
    """TRL's formulas, completion by completion: rewards [B, K], NaN where a reward is None; returns [B]."""
    rows, objectives = rewards.shape
    groups = [range(start, start + GROUP_SIZE) for start in range(0, rows, GROUP_SIZE)]
    scorable = [not np.isnan(rewards[b]).all() for b in range(rows)]
    advantages = np.zeros(rows)
    if aggregation == "sum_then_normalize":
        sums = np.array([np.nansum(weights * rewards[b]) if scorable[b] else np.nan for b in range(rows)])
        for group in groups:
            values = sums[list(group)]
            std = {"group": np.nanstd(values, ddof=1), "batch": np.nanstd(sums, ddof=1)}.get(scale)
            for b in group:
                centred = sums[b] - np.nanmean(values)
                advantages[b] = centred if std is None else centred / (std + 1e-4)
    else:
        sums = np.array([0.0 if scorable[b] else np.nan for b in range(rows)])
        for group in groups:
            for k in range(objectives):
                values = rewards[list(group), k]
                for b in group:
                    if not np.isnan(rewards[b, k]):
                        normal = (rewards[b, k] - np.nanmean(values)) / (np.nanstd(values, ddof=1) + 1e-4)
                        sums[b] += weights[k] * normal
        advantages = (sums - np.nanmean(sums)) / (np.nanstd(sums, ddof=1) + 1e-4)
    return np.nan_to_num(advantages, nan=0.0)


def plain_advantages(scale: str) -> Tensor:
    flat = rewards_of().view(ROWS, 1).double().numpy()
    return torch.tensor(trl_advantages(flat, np.ones(1), "sum_then_normalize", scale), dtype=torch.float32)


def assert_same(one: tuple[float, Tensor], other: tuple[float, Tensor]) -> None:
    assert one[0] == pytest.approx(other[0], abs=2e-5)
    assert other[1].norm() > 0
    assert (one[1] - other[1]).norm() < 1e-3 * other[1].norm()


CASES: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = [
    ({}, {}),
    ({"scale": "batch"}, {}),
    ({"scale": "none"}, {}),
    ({"clip_high": 0.28}, {"epsilon_high": 0.28}),
    ({"normalization": "token"}, {"loss_type": "dapo"}),
    ({"normalization": "token"}, {"loss_type": "bnpo"}),
    ({"normalization": "token", "clip_high": 0.28}, {"loss_type": "dapo", "epsilon_high": 0.28}),
    ({"normalization": "constant", "scale": "none"}, {"loss_type": "dr_grpo"}),
    ({"mask_truncated": True}, {"mask_truncated": True}),
    ({"mask_truncated": True, "normalization": "token"}, {"mask_truncated": True, "loss_type": "dapo"}),
    ({"mask_truncated": True, "normalization": "constant"}, {"mask_truncated": True, "loss_type": "dr_grpo"}),
    ({"importance_ratio": "sequence"}, {"importance_sampling_level": "sequence"}),
    (
        {"importance_ratio": "sequence", "clip": 0.05, "clip_high": 0.07},
        {"importance_sampling_level": "sequence", "epsilon_low": 0.05, "epsilon_high": 0.07},
    ),
    (
        {"importance_ratio": "sequence", "normalization": "token"},
        {"importance_sampling_level": "sequence", "loss_type": "dapo"},
    ),
]


def name_of(case: Any) -> str:
    return "-".join(f"{key}={value}" for key, value in case.items()) or "default" if isinstance(case, dict) else ""


@pytest.mark.parametrize(("beta", "later"), [(0.0, False), (0.3, True)], ids=["first update", "later update with KL"])
@pytest.mark.parametrize(("mine", "trl_settings"), CASES, ids=name_of)
def test_loss_and_gradient(
    tiny: LoadedModel,
    scorer: Scorer,
    theirs: Any,
    rollout: Rollout,
    mine: dict[str, Any],
    trl_settings: dict[str, Any],
    beta: float,
    later: bool,
) -> None:
    """On a later update of the same rollouts old log-probs differ from the new ones, so that ratios leave the clip range."""
    grpo, mask = GRPO(**mine, kl_coefficient=beta), rollout.completion_mask
    noise = torch.randn(ROWS, MAX_NEW_TOKENS, generator=torch.Generator().manual_seed(5)) * mask
    with torch.no_grad():
        now = scorer(rollout.encoded, rollout.completion_ids, mask, temperature=TEMPERATURE).log_probs
    tensors: dict[str, Tensor] = {}
    if later:
        tensors = {"old_log_probs": now + 0.3 * noise, "reference": now - 0.2 * noise.roll(1, 0) * mask}
        assert grpo.is_clipped(grpo.ratio(now, tensors["old_log_probs"], mask)).any()
    assert_same(
        ours(tiny, scorer, rollout, grpo, **tensors),
        trl_loss(theirs, tiny, rollout, plain_advantages(grpo.scale), beta=beta, **tensors, **trl_settings),
    )


CORRECTIONS = [
    ("token", {}),
    ("token", {"normalization": "token"}),
    ("token", {"importance_ratio": "sequence", "clip": 0.05}),
    ("token", {"mask_truncated": True}),
    ("sequence", {}),
    ("sequence", {"normalization": "constant"}),
]
TRL_NAMES = {"token": {"loss_type": "dapo"}, "constant": {"loss_type": "dr_grpo"}, True: {"mask_truncated": True}}


@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize(("level", "mine"), CORRECTIONS)
def test_correction_of_the_sampler(
    tiny: LoadedModel,
    scorer: Scorer,
    theirs: Any,
    rollout: Rollout,
    level: Any,
    mine: dict[str, Any],
    beta: float,
) -> None:
    """`vllm_importance_sampling_mode` token_truncate and sequence_truncate: a sampler whose log-probs are others, at a
    later update, with a cap that some ratios exceed."""
    cap, mask = 1.3, rollout.completion_mask
    grpo = GRPO(**mine, kl_coefficient=beta, sampler_correction=level, sampler_correction_cap=cap)
    noise = torch.randn(ROWS, MAX_NEW_TOKENS, generator=torch.Generator().manual_seed(8)) * mask
    with torch.no_grad():
        now = scorer(rollout.encoded, rollout.completion_ids, mask, temperature=TEMPERATURE).log_probs
    tensors = {"old_log_probs": now + 0.2 * noise, "reference": now - 0.2 * noise.roll(1, 0) * mask}
    if not beta:
        del tensors["reference"]
    sampler = (now + 0.5 * noise.roll(2, 0)) * mask
    loss_mask = mask * ~rollout.truncated[:, None] if grpo.mask_truncated else mask
    log_ratio = (tensors["old_log_probs"] - sampler) * loss_mask
    ratio = (log_ratio.sum(1, keepdim=True) if level == "sequence" else log_ratio).exp()
    assert (ratio > cap).any()
    assert (ratio < 1).any()
    names = {
        name: value for key, value in mine.items() if key != "clip" for name, value in TRL_NAMES.get(value, {}).items()
    }
    if "clip" in mine:
        names |= {"epsilon_low": mine["clip"], "epsilon_high": mine["clip"], "importance_sampling_level": "sequence"}
    found = ours(tiny, scorer, replace(rollout, sampler_log_probs=sampler), grpo, **tensors)
    uncorrected = ours(tiny, scorer, rollout, grpo, **tensors)
    expected = trl_loss(
        theirs,
        tiny,
        rollout,
        plain_advantages("group"),
        beta=beta,
        **tensors,
        **names,
        use_vllm=True,
        vllm_importance_sampling_correction=True,
        importance_sampling_ratio=ratio.clamp(max=cap),
    )
    assert_same(found, expected)
    assert abs(found[0] - uncorrected[0]) > 1e-3


def test_log_probs(tiny: LoadedModel, scorer: Scorer, theirs: Any, rollout: Rollout) -> None:
    """The scorer that gives the reference its log-probs is TRL's too."""
    encoded = rollout.encoded.inputs
    with torch.no_grad():
        scores = scorer(rollout.encoded, rollout.completion_ids, rollout.completion_mask, temperature=TEMPERATURE)
        inputs = {
            "input_ids": torch.cat([encoded["input_ids"].repeat_interleave(GROUP_SIZE, 0), rollout.completion_ids], 1),
            "attention_mask": torch.cat(
                [encoded["attention_mask"].repeat_interleave(GROUP_SIZE, 0), rollout.completion_mask], 1
            ),
        }
        if "pixel_values" in encoded:
            patches = encoded["pixel_values"].view(PROMPTS, -1, encoded["pixel_values"].shape[-1])
            inputs["pixel_values"] = patches.repeat_interleave(GROUP_SIZE, 0).flatten(0, 1)
            inputs["image_grid_thw"] = encoded["image_grid_thw"].repeat_interleave(GROUP_SIZE, 0)
            inputs["mm_token_type_ids"] = (inputs["input_ids"] == tiny.model.config.image_token_id).int()
            inputs["num_images"] = [1] * ROWS
        arguments = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
        found, entropy, _ = trl_trainer(theirs)._get_per_token_logps_and_entropies(
            theirs, inputs["input_ids"], inputs["attention_mask"], MAX_NEW_TOKENS, compute_entropy=True, **arguments
        )
    mask = rollout.completion_mask
    torch.testing.assert_close(scores.log_probs * mask, found * mask, atol=1e-4, rtol=0)
    torch.testing.assert_close(scores.entropy * mask, entropy * mask, atol=1e-4, rtol=0)


AGGREGATIONS = [
    ("reward", "sum_then_normalize", "group"),
    ("reward", "sum_then_normalize", "batch"),
    ("reward", "sum_then_normalize", "none"),
    ("normalized_advantage", "normalize_then_sum", "group"),
]


@pytest.mark.parametrize(("act_on", "aggregation", "scale"), AGGREGATIONS)
def test_several_rewards(
    tiny: LoadedModel, scorer: Scorer, theirs: Any, rollout: Rollout, act_on: WeightsActOn, aggregation: str, scale: str
) -> None:
    """Two rewards of one domain with weights of mean 1: `reward_weights` and `multi_objective_aggregation` of TRL."""
    rewards, weights = rewards_of(2), torch.tensor([0.5, 1.5])
    flat = trl_advantages(rewards.view(ROWS, 2).double().numpy(), weights.double().numpy(), aggregation, scale)
    assert_same(
        ours(tiny, scorer, rollout, GRPO(scale=scale), rewards=rewards, weights=weights, act_on=act_on),  # type: ignore[arg-type]
        trl_loss(theirs, tiny, rollout, torch.tensor(flat, dtype=torch.float32)),
    )


@pytest.mark.parametrize(("act_on", "aggregation", "scale"), AGGREGATIONS)
@pytest.mark.parametrize("seed", range(5))
def test_advantages_with_rewards_that_do_not_apply(
    act_on: WeightsActOn, aggregation: str, scale: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.rand(PROMPTS, GROUP_SIZE, 3, generator=generator, dtype=torch.float64)
    applies = torch.rand(PROMPTS, GROUP_SIZE, 3, generator=generator) < 0.8
    applies[:, :2] = True  # two values at least, for a deviation
    applies[0, 3] = False  # and one completion that nothing can judge
    weights = torch.tensor([0.5, 1.5, 1.0], dtype=torch.float64)
    table = RewardTable(rewards, applies, torch.zeros(PROMPTS, dtype=torch.long))
    (found,) = step_advantages([table], weights, num_domains=1, scale=scale, act_on=act_on)  # type: ignore[arg-type]
    missing = torch.where(applies, rewards, torch.nan).view(ROWS, 3).numpy()
    expected = trl_advantages(missing, weights.numpy(), aggregation, scale)
    assert found.combined is not None
    np.testing.assert_allclose(found.combined.flatten().numpy(), expected, atol=1e-9)
