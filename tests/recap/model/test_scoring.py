"""The prompt of a group is computed once, and logits a chunk at a time; the result is that of the plain forward."""

import copy
import logging
import re
from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

import recap.model.packing
import recap.model.scoring
from recap.data.prompts import Prompt
from recap.model.packing import share_saved
from recap.model.scoring import Scorer, Scoring
from recap.model.settling import Settled
from recap.model.token_scores import log_probabilities, token_scores
from recap.sampling.rollout import Rollout, roll_out
from registry.backends.base import EncodedPrompts, LoadedModel
from registry.example import Example
from registry.replay.arithmetic import Arithmetic
from registry.replay.grounding import Grounding

CPU = torch.device("cpu")
GROUP = 3


def prompts_of(examples: list[Example]) -> list[Prompt]:
    return [Prompt(example, example.question) for example in examples]


def mixed_examples() -> list[Example]:
    """Pictures and plain text, so that prompts are padded by different amounts."""
    return [Grounding().example(0), Arithmetic().example(0), Grounding().example(1)]


def plain_log_probs(
    loaded: LoadedModel, encoded: EncodedPrompts, ids: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """The naive way: one forward per completion on prompt and completion together, positions left to the model."""
    rows = []
    image = 0
    for p in range(len(encoded)):
        real = encoded.attention_mask[p].bool()
        prompt_ids = encoded.inputs["input_ids"][p][real]
        inputs = {}
        if (prompt_ids == loaded.model.config.image_token_id).any():
            inputs["image_grid_thw"] = encoded.inputs["image_grid_thw"][image : image + 1]
            patches = int(inputs["image_grid_thw"].prod())
            inputs["pixel_values"] = encoded.inputs["pixel_values"][image * patches : (image + 1) * patches]
            image += 1
        for g in range(GROUP):
            length = int(mask[p * GROUP + g].sum())
            completion = ids[p * GROUP + g, :length]
            whole = torch.cat([prompt_ids, completion])[None]
            if inputs:
                inputs["mm_token_type_ids"] = (whole == loaded.model.config.image_token_id).int()
            logits = loaded.model(input_ids=whole, **inputs).logits[0, len(prompt_ids) - 1 : -1]
            log_probs = log_probabilities(logits, loaded.forbidden_token_ids, 1.0)
            row = log_probs.gather(-1, completion[:, None])[:, 0]
            rows.append(torch.nn.functional.pad(row, (0, ids.shape[1] - length)))
    return torch.stack(rows)


@pytest.fixture
def rollout(random_tiny: LoadedModel) -> Rollout:
    return roll_out(
        random_tiny,
        prompts_of(mixed_examples()),
        group_size=GROUP,
        max_new_tokens=12,
        temperature=1.0,
        device=CPU,
        keep_prefix=True,
    )


SAVINGS = [
    Scoring(),
    Scoring(chunk=5),
    Scoring(chunk=5, reuse_prefill=False),
    Scoring(chunk=None),
    Scoring(shared_prefix=False),
]


def scored(scorer: Scorer, rollout: Rollout, settings: Scoring) -> torch.Tensor:
    batch = (rollout.encoded, rollout.completion_ids, rollout.completion_mask)
    log_probs: torch.Tensor = scorer(*batch, prefix=rollout.prefix).log_probs
    assert scorer.settled == Settled(settings, settings, "", ANY, 0.0)  # it did what is tested here
    assert (scorer.continues is not None and scorer.continues.way) == scorer.wants_prefix
    return log_probs


@pytest.mark.parametrize("settings", SAVINGS, ids=str)
def test_log_probs_equal_the_plain_forward(random_tiny: LoadedModel, rollout: Rollout, settings: Scoring) -> None:
    scorer = Scorer(random_tiny.model, random_tiny.forbidden_token_ids, settings)
    plain = plain_log_probs(random_tiny, rollout.encoded, rollout.completion_ids, rollout.completion_mask)
    torch.testing.assert_close(scored(scorer, rollout, settings), plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize("settings", SAVINGS, ids=str)
def test_gradients_equal_those_of_the_plain_forward(
    random_tiny: LoadedModel, rollout: Rollout, settings: Scoring
) -> None:
    scorer = Scorer(random_tiny.model, random_tiny.forbidden_token_ids, settings)

    def gradient(log_probs: torch.Tensor) -> dict[str, torch.Tensor]:
        random_tiny.model.zero_grad()
        weights = torch.linspace(-1, 1, log_probs.numel()).reshape(log_probs.shape)
        (log_probs * weights).sum().backward()
        return {name: p.grad.clone() for name, p in random_tiny.model.named_parameters() if p.grad is not None}

    found = gradient(scored(scorer, rollout, settings))
    plain = gradient(plain_log_probs(random_tiny, rollout.encoded, rollout.completion_ids, rollout.completion_mask))
    random_tiny.model.zero_grad()
    assert found.keys() == plain.keys()
    assert any("visual" in name for name in found)
    for name, expected in plain.items():
        error = (found[name] - expected).norm() / expected.norm().clamp(min=1e-3)
        assert error < 1e-3, f"{name}: {error}"


def test_a_prefix_that_does_not_fit_is_found_and_left_out(
    random_tiny: LoadedModel, rollout: Rollout, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = Scorer(random_tiny.model, random_tiny.forbidden_token_ids)
    batch = (rollout.encoded, rollout.completion_ids, rollout.completion_mask)
    expected = scorer(*batch).log_probs
    assert rollout.prefix is not None
    keys, values = rollout.prefix.keys_values[0]
    rollout.prefix.keys_values[0] = (keys, values.roll(1, dims=2))
    found = scorer(*batch, prefix=rollout.prefix).log_probs
    assert torch.equal(found, expected)
    assert not scorer.wants_prefix
    assert "prompts are computed again in the loss: log-probs differ" in caplog.text


def test_savings_survive_the_comparison_at_first_use(
    random_tiny: LoadedModel, rollout: Rollout, caplog: pytest.LogCaptureFixture
) -> None:
    """One row per prompt reaches the model, and nothing is said."""
    rows = []
    handle = random_tiny.model.model.language_model.register_forward_pre_hook(
        lambda module, arguments, keywords: rows.append(len(keywords["inputs_embeds"])), with_kwargs=True
    )
    scorer = Scorer(random_tiny.model, random_tiny.forbidden_token_ids)
    try:
        with caplog.at_level(logging.WARNING):
            first = scorer(rollout.encoded, rollout.completion_ids, rollout.completion_mask)
            rows.clear()
            second = scorer(rollout.encoded, rollout.completion_ids, rollout.completion_mask)
    finally:
        handle.remove()
    assert rows == [len(rollout.prompts)]
    assert not caplog.records
    torch.testing.assert_close(first.log_probs, second.log_probs)


def text_prompts() -> EncodedPrompts:
    """Two prompts of 5 and 3 tokens, padded on the left."""
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
    ids = torch.randint(1, 60, (2, 5), generator=torch.Generator().manual_seed(3)) * mask
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return EncodedPrompts({"input_ids": ids, "attention_mask": mask}, positions, positions[:, -1] + 1, [None, None])


SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


class Wilful(LlamaForCausalLM):
    """A model whose logits depend on more than the states that they come from."""

    def forward(self, input_ids: Any = None, **keywords: Any) -> Any:
        output = super().forward(input_ids, **keywords)
        output.logits = output.logits * (1.0 if input_ids is None else 0.5)
        return output


def wilful() -> PreTrainedModel:
    return Wilful(LlamaConfig(**SMALL))


def soft_capped() -> PreTrainedModel:
    """Gemma 2 without its sliding layers; its soft caps are for eager attention only."""
    return Gemma2ForCausalLM(
        Gemma2Config(
            **SMALL, final_logit_softcapping=0.5, layer_types=["full_attention"] * 2, attn_implementation="eager"
        )
    )


def sliding() -> PreTrainedModel:
    return MistralForCausalLM(MistralConfig(**SMALL, sliding_window=4))


def deaf_to_sharing() -> PreTrainedModel:
    """A model to which a packed row is one text: its layers are not told what is shared."""
    model = LlamaForCausalLM(LlamaConfig(**SMALL))

    def forget(module: object, arguments: tuple[object, ...], keywords: dict[str, object]) -> tuple[object, object]:
        return arguments, {name: value for name, value in keywords.items() if name != "shared_prompts"}

    model.model.register_forward_pre_hook(forget, with_kwargs=True)
    return model


@pytest.mark.parametrize(
    ("build", "left", "reason"),
    [
        (wilful, Scoring(chunk=None), "log-probs differ"),
        (soft_capped, Scoring(shared_prefix=False), "'eager' cannot share a prompt"),
        (sliding, Scoring(shared_prefix=False), "slides|sliding_attention"),
        (deaf_to_sharing, Scoring(shared_prefix=False), "log-probs differ"),
    ],
)
def test_what_a_model_does_not_stand_is_found_and_left_out(
    build: Callable[[], PreTrainedModel], left: Scoring, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(1)
    model = build()
    for parameter in model.parameters():  # wide enough for differences to show
        torch.nn.init.normal_(parameter, std=0.3)
    prompts = text_prompts()
    ids = torch.randint(1, 60, (6, 9), generator=torch.Generator().manual_seed(4))
    mask = torch.arange(9) < torch.tensor([9, 4, 1, 7, 9, 2])[:, None]
    with caplog.at_level(logging.WARNING):
        found = Scorer(model, [])(prompts, ids, mask.long()).log_probs
    (notice,) = caplog.records
    assert str(left) in notice.getMessage()
    assert re.search(reason, notice.getMessage())

    for row in range(6):  # one text at a time, nothing padded
        prompt = prompts.inputs["input_ids"][row // 3][prompts.attention_mask[row // 3].bool()]
        completion = ids[row][mask[row]]
        logits = model(input_ids=torch.cat([prompt, completion])[None]).logits[0, len(prompt) - 1 : -1]
        expected = logits.log_softmax(-1).gather(-1, completion[:, None])[:, 0]
        torch.testing.assert_close(found[row, : len(completion)], expected, atol=1e-4, rtol=0)


def gradients_of_long_completions(model: PreTrainedModel, settings: Scoring) -> list[torch.Tensor]:
    """Log-probs of six completions of up to 70 tokens behind two prompts, and the gradients of all weights."""
    ids = torch.randint(1, 60, (6, 70), generator=torch.Generator().manual_seed(4))
    mask = torch.arange(70) < torch.tensor([70, 33, 1, 60, 2, 70])[:, None]
    scorer = Scorer(model, [], settings)
    scorer(text_prompts(), ids, mask.long())  # compares
    assert scorer.settled is not None
    assert scorer.settled.way == settings
    model.zero_grad()
    log_probs = scorer(text_prompts(), ids, mask.long()).log_probs
    (log_probs * torch.linspace(-1, 1, log_probs.numel()).reshape(log_probs.shape)).sum().backward()
    return [log_probs.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


PLAIN = Scoring(shared_prefix=False, chunk=None)


@pytest.mark.parametrize("changed", ["", "without a kernel", "activation checkpointing"])
@pytest.mark.parametrize("grouping", [1, 4, 7])
def test_long_completions_of_grouped_heads(grouping: int, changed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under everything that may stand between the model and its attention."""
    torch.manual_seed(1)
    heads = {"num_attention_heads": 7, "hidden_size": 56} if grouping == 7 else {"num_attention_heads": 4}
    heads["num_key_value_heads"] = heads["num_attention_heads"] // grouping
    model = LlamaForCausalLM(LlamaConfig(**SMALL | heads)).train()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    expected = gradients_of_long_completions(model, PLAIN)
    if changed == "without a kernel":
        monkeypatch.setattr(recap.model.packing, "has_kernel", lambda *kind: False)
    if changed == "activation checkpointing":
        model.gradient_checkpointing_enable({"use_reentrant": False})
    found = gradients_of_long_completions(model, Scoring())
    torch.testing.assert_close(found[0], expected[0], atol=1e-4, rtol=0)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= 1e-3 * other.norm()


def short_and_long(
    prompt: int, lengths: list[int], sizes: list[Any]
) -> tuple[EncodedPrompts, torch.Tensor, torch.Tensor]:
    """One prompt and a group of completions of these lengths."""
    ids, real = torch.randint(1, 50, (1, prompt)), torch.ones(1, prompt, dtype=torch.long)
    prompts = EncodedPrompts(
        {"input_ids": ids, "attention_mask": real}, torch.arange(prompt)[None], torch.tensor([prompt]), sizes
    )
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return prompts, torch.randint(1, 50, mask.shape) * mask, mask


@pytest.mark.parametrize(
    ("case", "prompt", "lengths", "forwards"),
    [
        ("next to nothing to share", 4, [200] * 3, 3),  # 8 of 609 tokens
        ("a prompt that is worth it", 20, [200] * 3, 1),
        ("padding that is worth it", 4, [200, 100, 100], 1),
        ("one completion", 4, [200], 1),
        ("a picture", 4, [200] * 3, 1),
        ("sharded", 4, [200] * 3, 1),
    ],
)
def test_what_is_not_worth_sharing_is_not_shared(
    case: str, prompt: int, lengths: list[int], forwards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    model = LlamaForCausalLM(config)
    prompts, ids, mask = short_and_long(prompt, lengths, [(9, 9) if case == "a picture" else None])
    scorer = Scorer(model, [])
    scorer(prompts, ids[:, :2], mask[:, :2])  # has settled
    scorer.one_forward = case == "sharded"
    calls = []
    model.model.register_forward_hook(lambda *_: calls.append(1))
    found = scorer(prompts, ids, mask).log_probs
    assert len(calls) == forwards
    monkeypatch.setattr(recap.model.scoring, "WORTH_SHARING", 1.0 if forwards == 1 else 0.0)
    torch.testing.assert_close(found, scorer(prompts, ids, mask).log_probs)


def test_the_share_that_is_saved_by_hand() -> None:
    prompts, _, mask = short_and_long(10, [300, 300, 200], [None])
    assert share_saved(prompts, mask) == pytest.approx(1 - (10 + 299 + 299 + 199) / (3 * 309))
    assert share_saved(prompts, mask, inside=False) == pytest.approx(1 - (299 + 299 + 199) / (3 * 309))


@pytest.mark.parametrize("autocast", [True, False])
def test_bf16_is_no_further_from_the_truth_than_the_plain_forward(autocast: bool) -> None:
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**SMALL)).train()
    truth = gradients_of_long_completions(model, PLAIN)
    errors = {}
    for settings in (Scoring(), PLAIN):
        own = model if autocast else copy.deepcopy(model).bfloat16()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = gradients_of_long_completions(own, settings)
        errors[settings] = sum(float((a.float() - b).norm() / b.norm()) for a, b in zip(found, truth, strict=True))
    assert errors[Scoring()] <= 1.2 * errors[PLAIN]


def test_a_lora_adapter_is_part_of_what_is_scored(
    random_tiny: LoadedModel, rollout: Rollout, caplog: pytest.LogCaptureFixture
) -> None:
    """The adapter's weights count and get their gradient, in the head too, and forbid no saving."""
    peft = pytest.importorskip("peft", reason='pip install "recap-rlvr[lora]"')
    model = copy.deepcopy(random_tiny.model)
    model.add_adapter(peft.LoraConfig(target_modules=["q_proj", "lm_head"], r=2, init_lora_weights=False))
    results = {}
    for settings in (Scoring(), Scoring(shared_prefix=False, chunk=None)):
        model.zero_grad()
        scorer = Scorer(model, random_tiny.forbidden_token_ids, settings)
        log_probs = scorer(rollout.encoded, rollout.completion_ids, rollout.completion_mask).log_probs
        log_probs.sum().backward()
        results[settings] = [
            log_probs,
            *(p.grad for n, p in model.named_parameters() if "lora" in n and "visual" not in n),
        ]
    assert not caplog.records
    for found, expected in zip(*results.values(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_never_more_logits_than_a_chunk(random_tiny: LoadedModel, rollout: Rollout) -> None:
    """Only real completion tokens reach the head, at most a chunk at a time, in forward and in backward."""
    seen: list[int] = []
    scorer = Scorer(random_tiny.model, random_tiny.forbidden_token_ids, Scoring(chunk=7))
    arguments = (rollout.encoded, rollout.completion_ids, rollout.completion_mask)
    scorer(*arguments)  # the comparison of the first use
    handle = random_tiny.model.lm_head.register_forward_hook(
        lambda module, inputs, output: seen.append(output.shape[:-1].numel())
    )
    try:
        log_probs = scorer(*arguments).log_probs
        assert sum(seen) == int(rollout.completion_mask.sum())
        log_probs.sum().backward()
    finally:
        handle.remove()
        random_tiny.model.zero_grad()
    assert sum(seen) == 2 * int(rollout.completion_mask.sum())
    assert max(seen) == 7


def test_token_scores_by_hand() -> None:
    """Two tokens of three are allowed, with logits 0 and log 3 at temperature 1: probabilities 1/4 and 3/4."""
    states = torch.tensor([[0.0, 3.0, 9.0], [0.0, 3.0, 9.0]])
    states[:, 1] = torch.log(states[:, 1])
    log_probs, entropy = token_scores(torch.nn.Identity(), states, torch.tensor([0, 1]), [2], 1.0, chunk=1)
    torch.testing.assert_close(log_probs.exp(), torch.tensor([0.25, 0.75]))
    expected = -(0.25 * torch.tensor(0.25).log() + 0.75 * torch.tensor(0.75).log())
    torch.testing.assert_close(entropy, expected.expand(2))
    half = token_scores(torch.nn.Identity(), states, torch.tensor([0, 1]), [2], 0.5, chunk=2)[0]
    torch.testing.assert_close(half.exp(), torch.tensor([0.1, 0.9]))


def test_a_chunk_of_nothing() -> None:
    with pytest.raises(ValueError, match=r"scoring\.chunk must be at least 1"):
        Scoring(chunk=0)


def test_entropy_is_that_of_the_distribution(random_tiny: LoadedModel, rollout: Rollout) -> None:
    scores = Scorer(random_tiny.model, random_tiny.forbidden_token_ids)(
        rollout.encoded, rollout.completion_ids, rollout.completion_mask
    )
    allowed = len(random_tiny.tokenizer) - len(random_tiny.forbidden_token_ids)
    assert (scores.entropy <= torch.tensor(float(allowed)).log() + 1e-4).all()
    assert (scores.entropy >= 0).all()


def test_forbidden_tokens_have_no_probability() -> None:
    log_probs = log_probabilities(torch.zeros(2, 5), [1, 3], 1.0)
    assert torch.isneginf(log_probs[:, [1, 3]]).all()
    torch.testing.assert_close(log_probs[:, 0].exp(), torch.full((2,), 1 / 3))
