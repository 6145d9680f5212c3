"""Activation checkpointing changes no gradient, and what the forward keeps."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from recap.data.prompts import Prompt
from recap.experiment.config import LoadedConfig
from recap.experiment.trace import LiveBytes
from recap.learning.trainer import Trainer
from recap.model.activations import checkpoint_activations
from recap.model.adapters import LoRA
from recap.model.scoring import Scorer
from recap.sampling.rollout import Rollout, roll_out
from registry.backends.base import LoadedModel
from registry.example import Example
from registry.replay.arithmetic import Arithmetic
from registry.replay.grounding import Grounding

CPU = torch.device("cpu")
TEXT = [Arithmetic().example(0), Arithmetic().example(1)]
PICTURES = [Grounding().example(0), Arithmetic().example(0), Grounding().example(1)]
MODELS = ("full", "lora", "frozen vision")


def rollout_of(loaded: LoadedModel, examples: list[Example], tokens: int = 12) -> Rollout:
    prompts = [Prompt(example, example.question) for example in examples]
    return roll_out(loaded, prompts, group_size=3, max_new_tokens=tokens, temperature=1.0, device=CPU)


def gradients(
    loaded: LoadedModel, rollout: Rollout, *, checkpointed: bool, bf16: bool = False
) -> tuple[torch.Tensor, int]:
    """The gradient of the mean log-prob, all trained parameters in one, and the bytes alive at the peak of computing it."""
    model = copy.deepcopy(loaded.model)
    if checkpointed:
        checkpoint_activations(model)
    scorer = Scorer(model, loaded.forbidden_token_ids).train()
    rolled = (rollout.encoded, rollout.completion_ids, rollout.completion_mask)
    for _ in range(2):  # the first use compares the ways of scoring
        scorer.zero_grad()
        live = LiveBytes(model)
        with live:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                log_probs = scorer(*rolled).log_probs
            log_probs.mean().backward()
    found = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters() if p.requires_grad]
    return torch.cat([gradient.flatten() for gradient in found]), live.peak.total()


@pytest.fixture(params=MODELS)
def loaded(request: pytest.FixtureRequest, random_tiny: LoadedModel) -> LoadedModel:
    twin = copy.copy(random_tiny)
    twin.model = copy.deepcopy(random_tiny.model)
    if request.param == "lora":
        pytest.importorskip("peft")
        LoRA(rank=4).attach(twin.model, seed=0)
        for name, parameter in twin.model.named_parameters():
            if ".lora_B." in name:  # they start at 0, and A would have no gradient
                torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    elif request.param == "frozen vision":
        twin.model.model.visual.requires_grad_(False)
    return twin


@pytest.mark.parametrize("examples", [TEXT, PICTURES], ids=["text", "pictures"])
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_the_gradient_is_the_same_and_the_peak_lower(loaded: LoadedModel, examples: list[Example], bf16: bool) -> None:
    rollout = rollout_of(loaded, examples, tokens=40)
    expected, kept = gradients(loaded, rollout, checkpointed=False, bf16=bf16)
    found, least = gradients(loaded, rollout, checkpointed=True, bf16=bf16)
    assert expected.norm() > 0
    assert (found - expected).norm() <= 1e-6 * expected.norm()
    assert least < 0.8 * kept


def test_grouped_queries_without_pictures(random_tiny: LoadedModel) -> None:
    """Twelve layers: what is kept per layer is then most of the peak."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(random_tiny.tokenizer),
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=2,
        bos_token_id=None,
        eos_token_id=random_tiny.tokenizer.eos_token_id,
    )
    loaded = LoadedModel(LlamaForCausalLM(config), random_tiny.tokenizer, "grouped")
    rollout = rollout_of(loaded, TEXT, tokens=48)
    expected, kept = gradients(loaded, rollout, checkpointed=False)
    found, least = gradients(loaded, rollout, checkpointed=True)
    assert (found - expected).norm() <= 1e-6 * expected.norm()
    assert least < 0.3 * kept


def test_a_model_that_cannot_is_an_error(random_tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model = copy.deepcopy(random_tiny.model)
    monkeypatch.setattr(type(model), "supports_gradient_checkpointing", False)
    with pytest.raises(ValueError, match=r"train\.activation_checkpointing = False"):
        checkpoint_activations(model)


def test_steps_are_those_without(small: Callable[..., LoadedConfig]) -> None:
    """Rollouts keep no graph of their prompts then: it would be whole, and checkpointed layers ignore a cache."""
    found = []
    for asked in (False, True):
        experiment = small(f"train.activation_checkpointing = {asked}", "grpo.kl_coefficient = 0.1").experiment
        trainer = Trainer(experiment)
        assert trainer.models.keeps_prefix is not asked
        with experiment.rewards:
            found.append([trainer.step().metrics for _ in range(2)])
    for without, checkpointed in zip(*found, strict=True):
        for name in ("loss", "gradient_norm", "entropy"):
            assert checkpointed[name] == pytest.approx(without[name], rel=1e-4, abs=1e-7)
