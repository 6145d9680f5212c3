"""Keys and values are held in the precision that attention takes them in, and nothing else changes."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM
from transformers.cache_utils import DynamicCache

import recap.model.prefix
from recap.model.decode_batch import DecodeBatch
from recap.model.prefix import prefill
from recap.model.scoring import Scorer, Scoring
from registry.backends.base import EncodedPrompts

SIZES = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
MODELS = {
    "Llama": (LlamaForCausalLM, LlamaConfig),
    "Qwen3": (Qwen3ForCausalLM, Qwen3Config),
}  # Qwen3 normalises its keys
CASES = [(family, attention) for family in MODELS for attention in ("sdpa", "eager")]


def build(family: str, attention: str) -> PreTrainedModel:
    torch.manual_seed(0)
    kind, configuration = MODELS[family]
    model: PreTrainedModel = kind(configuration(**SIZES, attn_implementation=attention)).eval()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.15)
    return model


def three_prompts() -> EncodedPrompts:
    mask = (torch.arange(9) >= torch.tensor([0, 4, 2])[:, None]).long()
    ids = torch.randint(6, 97, (3, 9), generator=torch.Generator().manual_seed(0)) * mask
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return EncodedPrompts({"input_ids": ids, "attention_mask": mask}, positions, positions[:, -1] + 1, [None] * 3)


def dtypes(*caches: Any) -> set[torch.dtype]:
    return {states.dtype for cache in caches for layer in cache.layers for states in (layer.keys, layer.values)}


def decoded(model: PreTrainedModel, way: Any) -> tuple[Tensor, set[torch.dtype]]:
    """Logits of the first tokens and of 70 steps, as the cache grows and rows leave; and the dtypes of all that was held."""
    prompts, group = three_prompts(), 4
    logits, cache, _ = prefill(model, prompts)
    held = dtypes(cache)
    batch = DecodeBatch(model, prompts, cache, group, 70, way)
    found, tokens = [logits], torch.arange(6, 6 + 3 * group)
    for step in range(70):
        found.append(batch.step(tokens))
        if step == 20:
            kept = batch.thin_out(torch.isin(batch.completion, torch.tensor([1, 2, 5])))
            assert kept is not None
            tokens = tokens[kept]
    return torch.cat(found), held | dtypes(batch.cache)


@pytest.mark.parametrize(("family", "attention"), CASES)
@pytest.mark.parametrize("way", ["shared", "rows"])
def test_a_rollouts_cache_is_in_the_autocast_dtype(
    family: str, attention: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stock cache holds them in fp32, and attention casts them down at every step: the logits are the same."""
    if way == "shared" and attention == "eager":
        pytest.skip("eager attention cannot share a prompt")
    model = build(family, attention)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found, held = decoded(model, way)
        monkeypatch.setattr(recap.model.prefix, "new_cache", lambda model: DynamicCache(config=model.config))
        expected, stock = decoded(model, way)
    assert held == {torch.bfloat16}
    assert torch.float32 in stock
    assert torch.equal(found, expected)


@pytest.mark.parametrize("precision", ["fp32", "bf16 weights"])
def test_without_autocast_nothing_changes(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("Llama", "sdpa")
    if precision == "bf16 weights":
        model.to(torch.bfloat16)
    with torch.no_grad():
        found, held = decoded(model, "rows")
        monkeypatch.setattr(recap.model.prefix, "new_cache", lambda model: DynamicCache(config=model.config))
        expected, _ = decoded(model, "rows")
    assert held == {model.dtype}
    assert torch.equal(found, expected)


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_gradients_through_a_prefix_in_bf16_are_those_of_the_plain_forward(family: str, attention: str) -> None:
    """As close to the gradient in fp32 as the plain forward in bf16 comes, but for noise."""
    model, prompts = build(family, attention), three_prompts()
    ids = torch.randint(6, 97, (6, 12), generator=torch.Generator().manual_seed(2))
    mask = (torch.arange(12) < torch.tensor([12, 3, 7, 12, 1, 9])[:, None]).long()

    def gradient(settings: Scoring, *, bf16: bool) -> Tensor:
        model.zero_grad()
        prefix = None
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            if settings.reuse_prefill:
                with torch.no_grad():
                    _, cache, prefix = prefill(model, prompts, keep_prefix=True)
                assert prefix is not None
                if bf16:
                    assert dtypes(cache) == dtypes(prefix.cache()) == {torch.bfloat16}
                assert all(states.grad_fn for pair in prefix.keys_values for states in pair)
            scorer = Scorer(model, [], settings)
            log_probs = scorer(prompts, ids, mask, prefix=prefix).log_probs
            assert scorer.continues is None or scorer.continues.way
        (log_probs * torch.linspace(-1, 1, log_probs.numel()).view_as(log_probs)).sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    plain = Scoring(shared_prefix=False, chunk=None, reuse_prefill=False)
    exact = gradient(plain, bf16=False)
    torch.testing.assert_close(gradient(Scoring(), bf16=False), exact, atol=1e-3, rtol=1e-3)
    noise = (gradient(plain, bf16=True) - exact).norm()
    assert (gradient(Scoring(), bf16=True) - exact).norm() < 1.3 * noise
    assert noise < 0.1 * exact.norm()
