"""The prompt of a group is computed once; the result is that of the plain forward on the whole text."""

import pytest
import torch

from recap.domains import Domain
from recap.objectives import NextTokenPrediction
from recap.rollout import Prompt, roll_out
from recap.scoring import Scorer, log_probabilities
from registry.backends.base import EncodedPrompts, LoadedModel
from registry.example import Example
from registry.replay.arithmetic import Arithmetic
from registry.replay.grounding import Grounding

CPU = torch.device("cpu")
GROUP = 3


def prompts_of(examples: list[Example]) -> list[Prompt]:
    domain = Domain(name="d", source=Arithmetic(), objectives={"n": NextTokenPrediction()})
    return [Prompt(domain, example, example.question) for example in examples]


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
def rollout(random_tiny: LoadedModel):  # type: ignore[no-untyped-def]
    return roll_out(
        random_tiny, prompts_of(mixed_examples()), group_size=GROUP, max_new_tokens=12, temperature=1.0, device=CPU
    )


def test_log_probs_equal_the_plain_forward(random_tiny: LoadedModel, rollout) -> None:  # type: ignore[no-untyped-def]
    scorer = Scorer(random_tiny.model, random_tiny.forbidden_token_ids)
    shared = scorer(rollout.encoded, rollout.completion_ids, rollout.completion_mask).log_probs
    plain = plain_log_probs(random_tiny, rollout.encoded, rollout.completion_ids, rollout.completion_mask)
    torch.testing.assert_close(shared, plain, atol=1e-4, rtol=0)


def test_gradients_equal_those_of_the_plain_forward(random_tiny: LoadedModel, rollout) -> None:  # type: ignore[no-untyped-def]
    scorer = Scorer(random_tiny.model, random_tiny.forbidden_token_ids)

    def gradient(log_probs: torch.Tensor) -> dict[str, torch.Tensor]:
        random_tiny.model.zero_grad()
        weights = torch.linspace(-1, 1, log_probs.numel()).reshape(log_probs.shape)
        (log_probs * weights).sum().backward()
        return {name: p.grad.clone() for name, p in random_tiny.model.named_parameters() if p.grad is not None}

    shared = gradient(scorer(rollout.encoded, rollout.completion_ids, rollout.completion_mask).log_probs)
    plain = gradient(plain_log_probs(random_tiny, rollout.encoded, rollout.completion_ids, rollout.completion_mask))
    random_tiny.model.zero_grad()
    assert shared.keys() == plain.keys()
    assert any("visual" in name for name in shared)
    for name, expected in plain.items():
        error = (shared[name] - expected).norm() / expected.norm().clamp(min=1e-3)
        assert error < 1e-3, f"{name}: {error}"


def test_entropy_is_that_of_the_distribution(random_tiny: LoadedModel, rollout) -> None:  # type: ignore[no-untyped-def]
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
