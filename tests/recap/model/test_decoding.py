"""Decoding on every kind of layer: each prompt once where that can be, and one batch where it cannot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GptOssConfig,
    Lfm2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen3_5TextConfig,
    Qwen3NextConfig,
)

from recap.model.decoding import decode
from registry.backends.base import EncodedPrompts, LoadedModel
from registry.example import Example
from registry.replay.arithmetic import Arithmetic
from registry.replay.grounding import Grounding

GROUP, TOKENS = 4, 10
SIZES = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
LINEAR = {
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"] * 2,
}
EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}
SLIDING = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"] * 2}
FAMILIES: dict[str, PretrainedConfig] = {
    "Llama": LlamaConfig(**SIZES),
    "Mistral, sliding windows": MistralConfig(**SIZES, sliding_window=6),
    "Gemma 3, sliding windows and full attention": Gemma3TextConfig(**SIZES, **SLIDING),
    "gpt-oss, windows and sinks": GptOssConfig(**SIZES, sliding_window=6, num_local_experts=4, num_experts_per_tok=2),
    "LFM2, convolutions": Lfm2Config(**SIZES, full_attn_idxs=[1, 3]),
    "Qwen3-Next, linear attention": Qwen3NextConfig(**SIZES, **LINEAR, **EXPERTS, decoder_sparse_step=1),
    "Qwen3.5, linear attention": Qwen3_5TextConfig(**SIZES, **LINEAR),
}


def decoded(loaded: LoadedModel, prompts: EncodedPrompts, uniforms: torch.Tensor | None, shared: bool) -> Any:
    """Ids, mask, and how many forwards it took once the ways were compared."""
    calls: list[int] = []
    with torch.no_grad():
        decode(loaded, prompts, GROUP, 2, 1.0, uniforms, shared_prefix=shared)
        hook = loaded.model.register_forward_hook(lambda *_: calls.append(1))
        ids, mask, _ = decode(loaded, prompts, GROUP, TOKENS, 1.0, uniforms, shared_prefix=shared)
        hook.remove()
    return ids, mask, len(calls)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_group_is_decoded_together_on_every_kind_of_layer(family: str) -> None:
    """A prefill and a forward per token, with a recurrent state copied to the group; the same completions as one by one."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[family]).eval()
    special = {"forbidden_token_ids": [], "eos_token_ids": [1, 2, 3], "pad_token_id": 0}
    loaded = cast(LoadedModel, SimpleNamespace(model=model, **special))
    ids, mask = torch.randint(4, 97, (3, 12)), torch.ones(3, 12, dtype=torch.long)
    mask[1, :4] = 0  # prompts of different length
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    prompts = EncodedPrompts({"input_ids": ids, "attention_mask": mask}, positions, positions[:, -1] + 1, [None] * 3)
    uniforms = torch.rand(3 * GROUP, TOKENS, generator=torch.Generator().manual_seed(3))
    shared, shared_mask, forwards = decoded(loaded, prompts, uniforms, True)
    naive, naive_mask, naive_forwards = decoded(loaded, prompts, uniforms, False)
    assert torch.equal(shared_mask, naive_mask)
    assert torch.equal(shared * shared_mask, naive * naive_mask)
    assert forwards <= TOKENS
    assert naive_forwards <= TOKENS


def test_the_naive_way_sees_every_picture_once_per_completion(random_tiny: LoadedModel) -> None:
    examples: list[Example] = [Grounding().example(0), Arithmetic().example(3), Grounding().example(5)]
    prompts = random_tiny.encode([example.question for example in examples], examples, torch.device("cpu"))
    uniforms = torch.rand(3 * GROUP, TOKENS, generator=torch.Generator().manual_seed(4))
    shared, mask, _ = decoded(random_tiny, prompts, uniforms, True)
    naive, naive_mask, forwards = decoded(random_tiny, prompts, uniforms, False)
    assert torch.equal(mask, naive_mask)
    assert torch.equal(shared * mask, naive * naive_mask)
    assert forwards <= TOKENS
