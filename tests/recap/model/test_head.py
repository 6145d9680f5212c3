"""Logits are the model's own: what its forward does to them is done to the first tokens and, in chunks, to the others."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    CohereConfig,
    FalconH1Config,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    HyperCLOVAXConfig,
    LlamaConfig,
    NanoChatConfig,
    OPTConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen3MoeConfig,
)

from recap.model.decoding import decode
from recap.model.head import head_of
from recap.model.scoring import Scorer, Scoring
from registry.backends.base import EncodedPrompts, LoadedModel

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}
FULL = {"layer_types": ["full_attention"] * 2}
OWN_LOGITS: dict[str, PretrainedConfig] = {
    "Granite, divided": GraniteConfig(**SIZES, logits_scaling=6.0),
    "Cohere, multiplied": CohereConfig(**SIZES, logit_scale=0.1),
    "Cohere 2, multiplied": Cohere2Config(**SIZES, **FULL, logit_scale=0.1),
    "Gemma 2, capped": Gemma2Config(**SIZES, **FULL, final_logit_softcapping=1.5, attn_implementation="eager"),
    "nanochat, capped": NanoChatConfig(**SIZES, final_logit_softcapping=1.5),
    "HyperCLOVA X, multiplied": HyperCLOVAXConfig(**SIZES, logits_scaling=0.2),
}
FAMILIES = OWN_LOGITS | {
    "Llama": LlamaConfig(**SIZES),
    "GPT-2": GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4),
    "OPT": OPTConfig(vocab_size=64, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4),
    "Qwen3-MoE": Qwen3MoeConfig(**SIZES, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=16),
    "Falcon-H1": FalconH1Config(**SIZES, lm_head_multiplier=0.3, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_state=8),
}


def build(config: PretrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():  # wide enough for a head to matter
        torch.nn.init.normal_(parameter, std=0.3)
    return cast(PreTrainedModel, model)


def two_prompts() -> EncodedPrompts:
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
    ids = torch.randint(1, 60, (2, 5), generator=torch.Generator().manual_seed(3)) * mask
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return EncodedPrompts({"input_ids": ids, "attention_mask": mask}, positions, positions[:, -1] + 1, [None, None])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_makes_the_logits_of_the_forward(family: str) -> None:
    model, prompts = build(FAMILIES[family]), two_prompts()
    ids = prompts.inputs["input_ids"][:1]
    states = model.base_model(input_ids=ids).last_hidden_state[0]
    expected = model(input_ids=ids).logits[0]
    found = head_of(model)(states)
    torch.testing.assert_close(found, expected)
    parameters = [model.get_output_embeddings().weight]
    (gradient,), (expected_gradient,) = (torch.autograd.grad(x[:, 5].sum(), parameters) for x in (found, expected))
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("family", OWN_LOGITS)
def test_first_tokens_come_from_the_distribution_of_the_forward(family: str) -> None:
    """Random numbers as even as a grid: of G completions, the share of every token is its probability to 1 / G."""
    model, prompts, group = build(OWN_LOGITS[family]), two_prompts(), 2000
    special = {"forbidden_token_ids": [7], "eos_token_ids": [1], "pad_token_id": 0}
    loaded = cast(LoadedModel, SimpleNamespace(model=model, **special))
    uniforms = ((torch.arange(group) + 0.5) / group).repeat(2)[:, None]
    with torch.no_grad():
        ids, _, prefix = decode(loaded, prompts, group, 1, 0.8, uniforms, keep_prefix=True)
        logits = model(**prompts.inputs, position_ids=prompts.position_ids).logits[:, -1]
    assert prefix is not None
    expected = (logits / 0.8).index_fill(-1, torch.tensor([7]), -torch.inf).softmax(-1)
    shares = torch.stack([row.bincount(minlength=64) for row in ids.view(2, group)]) / group
    assert (shares - expected).abs().max() <= 1.01 / group


@pytest.mark.parametrize("family", OWN_LOGITS)
def test_such_models_are_scored_in_chunks_and_behind_the_rollouts_prefix(
    family: str, caplog: pytest.LogCaptureFixture
) -> None:
    model, prompts = build(OWN_LOGITS[family]), two_prompts()
    loaded = cast(LoadedModel, SimpleNamespace(model=model, forbidden_token_ids=[], eos_token_ids=[1], pad_token_id=0))
    uniforms = torch.rand(6, 9, generator=torch.Generator().manual_seed(1))
    with caplog.at_level(logging.WARNING), torch.no_grad():
        ids, mask, prefix = decode(loaded, prompts, 3, 9, 1.0, uniforms, keep_prefix=True)
        plain = Scorer(model, [], Scoring(shared_prefix=False, chunk=None))(prompts, ids, mask)
        scorer = Scorer(model, [], Scoring(chunk=4))
        found = scorer(prompts, ids, mask, prefix=prefix)
    assert scorer.settled is not None
    assert scorer.settled.way.chunk == 4
    if model.config._attn_implementation != "eager":  # which cannot share a prompt, and Gemma 2 has no other
        assert not caplog.records
        assert scorer.continues is not None
        assert scorer.continues.way
    torch.testing.assert_close(found.log_probs, plain.log_probs, atol=1e-4, rtol=0)
