"""LoRA: what is trained and what stays, that it starts as the base, and that its base is the reference model."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.text import Text
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from recap.experiment.config import ConfigError, LoadedConfig, load_config
from recap.experiment.describe import experiment_table, settings
from recap.learning.trainer import Trainer
from recap.model.adapters import LoRA, adapted_layers, adapter_disabled
from recap.runs.run import Run
from registry.backends.base import LoadedModel
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL

pytest.importorskip("peft", reason='pip install "recap-rlvr[lora]"')

Small = Callable[..., LoadedConfig]
ROOT = Path(__file__).resolve().parents[3]
LORA = ("train.adapter = @lora()", "lora.rank = 4", "lora.alpha = 8", "adamw.learning_rate = 1e-2")


def tiny() -> LoadedModel:
    return TinyQwen2_5_VL(weights="random").load()


def disturbed(model: nn.Module) -> None:
    """Moves the adapter away from where it starts, the base."""
    generator = torch.Generator().manual_seed(5)
    for layer in adapted_layers(model).values():
        weight = layer.lora_B["default"].weight
        weight.data = 0.1 * torch.randn(weight.shape, generator=generator)


def base_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n.replace("base_layer.", ""): p.detach().clone() for n, p in model.named_parameters() if "lora_" not in n}


# --- what it attaches to


def test_all_linear_layers_of_the_language_model_and_no_others() -> None:
    model = tiny().model
    LoRA().attach(model, seed=0)
    names = set(adapted_layers(model))
    kinds = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {name.rpartition(".")[2] for name in names} == kinds
    assert all(name.startswith("model.language_model.") for name in names)
    assert len(names) == 4 * 7
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {f"{name}.lora_{ab}.default.weight" for name in names for ab in "AB"}


def test_of_a_text_model_everything_but_the_head() -> None:
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)
    )
    assert len(LoRA().targets(model)) == 2 * 7


@pytest.mark.parametrize(
    ("chosen", "count"),
    [(["q_proj", "v_proj"], 8), (["layers.0.self_attn.q_proj"], 1), (r".*\.visual\..*\.qkv", 3), (r".*o_proj", 4)],
)
def test_layers_of_your_choice(random_tiny: LoadedModel, chosen: Any, count: int) -> None:
    assert len(LoRA(target_modules=chosen).targets(random_tiny.model)) == count


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["q_proj", "v_porj"], "no linear layer 'v_porj'; did you mean 'v_proj'"),
        (["nonsense"], "no linear layer 'nonsense'; there are: .*q_proj"),
        ("q_proj", "matches no linear layer; it must match whole names"),
        (["lm_head"], "takes in the output head, 'lm_head'"),
    ],
)
def test_layers_that_cannot_be_had(random_tiny: LoadedModel, chosen: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoRA(target_modules=chosen).targets(random_tiny.model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, r"lora\.rank must be at least 1; it is 0"),
        ({"alpha": 0}, r"lora\.alpha must be at least 1; it is 0"),
        ({"dropout": 1.0}, r"lora\.dropout must lie in \[0, 1\); it is 1.0"),
        ({"target_modules": "("}, r"lora\.target_modules is not a regular expression"),
        ({"target_modules": []}, r"lora\.target_modules is empty"),
        ({"export": ["merge"]}, r"lora\.export must be a list of 'merged' or 'adapter'"),
        ({"export": "merged"}, r"lora\.export must be a list of 'merged' or 'adapter'"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoRA(**settings)


# --- how it starts


def test_it_starts_as_the_base_and_the_same_under_one_seed() -> None:
    plain, first, second, other = tiny(), tiny(), tiny(), tiny()
    before = torch.random.get_rng_state()
    for loaded, seed in ((first, 7), (second, 7), (other, 8)):
        LoRA().attach(loaded.model, seed)
    assert torch.equal(torch.random.get_rng_state(), before), "the rest of the run draws what it would have drawn"
    ids = torch.arange(2, 12)[None]
    with torch.no_grad():
        assert torch.equal(first.model(input_ids=ids).logits, plain.model(input_ids=ids).logits)
    name = "model.language_model.layers.2.mlp.up_proj.lora_A.default.weight"
    drawn = [loaded.model.get_parameter(name) for loaded in (first, second, other)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_update_is_kept_in_float32_beside_a_bfloat16_base() -> None:
    model = tiny().model.to(torch.bfloat16)
    LoRA().attach(model, seed=0)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    assert model(input_ids=torch.arange(2, 12)[None]).logits.dtype == torch.bfloat16


# --- training


@pytest.mark.parametrize("more", [(), ("train.gradient_method = 'upgrad'",)], ids=["mean", "upgrad"])
def test_training_moves_the_adapter_and_leaves_the_base_as_it_was(small: Small, more: tuple[str, ...]) -> None:
    if more:
        pytest.importorskip("torchjd")
    trainer = Trainer(small(*LORA, *more).experiment)
    model = trainer.loaded.model
    base = base_weights(model)
    for _ in range(2):
        assert trainer.step().updated
    after = base_weights(model)
    assert base.keys() == after.keys()
    assert all(torch.equal(base[name], after[name]) for name in base)
    assert all(layer.lora_B["default"].weight.abs().max() > 0 for layer in adapted_layers(model).values())
    count = sum(parameter.numel() for parameter in trainer.models.trained_parameters)
    assert f"with LoRA of rank 4 ({count:,} of " in trainer.loaded.description


def test_dropout_and_reinforcement_exclude_each_other(small: Small) -> None:
    with pytest.raises(ConfigError, match=r"lora\.dropout = 0\.1 with .*accuracy.* trained by reinforcement"):
        small(*LORA, "lora.dropout = 0.1")
    reading = ("train.domains = [@reading/Domain()]", "train.mixture = @mixtures.uniform()")
    assert Trainer(small(*LORA, "lora.dropout = 0.1", *reading).experiment).step().updated


def test_the_adapter_is_written_with_parentheses(small: Small) -> None:
    with pytest.raises(ConfigError, match=r"with parentheses: @lora\(\)"):
        small("train.adapter = @lora")


@pytest.mark.parametrize("experiment", ["quickstart", "paper/hybrid_recap", "smollm2_arithmetic"])
def test_one_included_file_makes_any_experiment_lora(tmp_path: Path, experiment: str) -> None:
    mine = tmp_path / "mine.gin"
    mine.write_text(f"include '{ROOT}/experiments/{experiment}.gin'\ninclude '{ROOT}/experiments/adapters/lora.gin'\n")
    config = load_config(mine)
    assert config.experiment.adapter == LoRA(rank=16, alpha=32)
    assert Text.from_markup(str(experiment_table(config.experiment).title)).plain.count("with LoRA of rank 16,") == 1
    assert settings(config.experiment)["adapter"] == "LoRA of rank 16"
    assert not [unused for unused in config.unused if "lora" in unused.binding.name]


def test_without_peft_the_error_names_the_extra_before_anything_is_loaded(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = small(*LORA).experiment
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "peft" else find_spec(name))
    monkeypatch.setattr(type(experiment.model), "load", lambda self: pytest.fail("weights were loaded"))
    with pytest.raises(ValueError, match=r'pip install "recap-rlvr\[lora\]"'):
        experiment.check()
    with pytest.raises(ValueError, match=r'pip install "recap-rlvr\[lora\]"'):
        Trainer(experiment)


# --- the reference model


def test_the_base_is_the_reference_model(small: Small) -> None:
    """After some updates: what a frozen copy of the start gives, without one being held."""
    trainer = Trainer(small(*LORA, "train.reweighting = @reweighting.kl_only").experiment)
    assert trainer.experiment.kl_coefficient > 0
    assert trainer.models.reference is None
    assert len(trainer.accelerator._models) == 1
    model = trainer.loaded.model
    base = base_weights(model)
    copied = copy.deepcopy(trainer.models.scorer).eval()  # of the start, B = 0
    assert trainer.step().metrics["kl"] == pytest.approx(0, abs=1e-6)
    assert trainer.step().metrics["kl"] > 1e-5

    batch = trainer.verify(trainer.roll_out(prompts := trainer.draw()), prompts)
    counts, _ = trainer.count(batch)
    reinforced = trainer.passes(batch, counts, trainer.reweighting.weights)[0]
    item = reinforced.item  # type: ignore[attr-defined]
    arguments = (item.encoded, item.completion_ids, item.completion_mask)
    with torch.no_grad():
        expected, adapted = copied(*arguments).log_probs, trainer.models.scorer(*arguments).log_probs
    found = trainer.models.reference_log_probs(item)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert (found - adapted).abs().max() > 1e-3
    assert model.training
    assert all(parameter.requires_grad for parameter in trainer.models.trained_parameters)
    assert all(torch.equal(base[name], weight) for name, weight in base_weights(model).items())


def test_the_adapter_is_back_after_an_error(random_tiny: LoadedModel) -> None:
    model = copy.deepcopy(random_tiny.model).train()
    LoRA().attach(model, seed=0)
    disturbed(model)
    ids = torch.arange(2, 12)[None]
    with torch.no_grad():
        adapted, base = model(input_ids=ids).logits, random_tiny.model(input_ids=ids).logits
        with pytest.raises(IndexError), adapter_disabled(model):
            model(input_ids=ids + 10_000)
        with adapter_disabled(model):
            assert torch.equal(model(input_ids=ids).logits, base)
        assert torch.equal(model(input_ids=ids).logits, adapted)
    assert model.training
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        n for n, _ in model.named_parameters() if "lora_" in n
    }


def test_the_reference_between_forward_and_backward_leaves_the_gradient_alone(random_tiny: LoadedModel) -> None:
    gradients = []
    for interrupted in (False, True):
        model = copy.deepcopy(random_tiny.model)
        LoRA().attach(model, seed=0)
        disturbed(model)
        loss = model(input_ids=torch.arange(2, 12)[None]).logits.logsumexp(-1).sum()
        if interrupted:
            with adapter_disabled(model), torch.no_grad():
                model(input_ids=torch.arange(2, 12)[None])
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert gradients[0].norm() > 0
    assert torch.equal(*gradients)


# --- checkpoints


def test_a_resumed_lora_run_goes_on_bit_for_bit_from_a_small_checkpoint(small: Small, tmp_path: Path) -> None:
    bindings = (*LORA, "train.steps = 4", "checkpoints.every = 2", "checkpoints.save_model = False")
    directory = tmp_path / "run"

    def start(into: Path, resume: Path | None = None) -> Run:
        return Run(small(*bindings).experiment, into, resume=resume)

    whole = start(directory)
    whole.execute()
    resumed = start(tmp_path / "fork", directory / "checkpoint-000002")
    assert resumed.trainer.step_number == 2
    resumed.execute()
    for (name, ours), theirs in zip(
        whole.trainer.loaded.model.named_parameters(), resumed.trainer.loaded.model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    adapter = sum(4 * parameter.numel() for parameter in whole.trainer.models.trained_parameters)
    saved = (directory / "checkpoint-000002" / "model.safetensors").stat().st_size
    assert adapter <= saved < 2 * adapter


def test_a_checkpoint_of_another_adapter_is_refused(small: Small, tmp_path: Path) -> None:
    Trainer(small(*LORA).experiment).accelerator.save_state(str(tmp_path))
    other = Trainer(small(*LORA, "lora.target_modules = ['q_proj']").experiment)
    with pytest.raises(ValueError, match="not a checkpoint of this model and adapter"):
        other.accelerator.load_state(str(tmp_path))
