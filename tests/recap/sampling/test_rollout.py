import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from recap.data.prompts import Prompt
from recap.model.decoding import invert
from recap.sampling.rollout import Rollout, draw_uniforms, roll_out
from registry.backends.base import LoadedModel
from registry.example import Example
from registry.replay.arithmetic import Arithmetic
from registry.replay.grounding import Grounding

CPU = torch.device("cpu")


def sample(loaded: LoadedModel, examples: list[Example], **settings: object) -> Rollout:
    prompts = [Prompt(example, example.question) for example in examples]
    arguments = {"group_size": 4, "max_new_tokens": 16, "temperature": 1.0, "device": CPU, **settings}
    return roll_out(loaded, prompts, **arguments)  # type: ignore[arg-type]


def test_greedy_equals_generate_of_transformers(random_tiny: LoadedModel) -> None:
    examples = [Grounding().example(0), Arithmetic().example(3), Grounding().example(5)]
    ours = sample(random_tiny, examples, group_size=1, temperature=0.0)
    for p, example in enumerate(examples):
        encoded = random_tiny.encode([example.question], [example], CPU)
        inputs = dict(encoded.inputs)
        if "pixel_values" in inputs:
            inputs["mm_token_type_ids"] = (inputs["input_ids"] == random_tiny.model.config.image_token_id).int()
        theirs = random_tiny.model.generate(
            **inputs, max_new_tokens=16, do_sample=False, suppress_tokens=random_tiny.forbidden_token_ids
        )[0, encoded.inputs["input_ids"].shape[1] :]
        length = int(ours.completion_mask[p].sum())
        assert ours.completion_ids[p, :length].tolist() == theirs[:length].tolist()


def test_placeholders_of_pictures_are_never_sampled(random_tiny: LoadedModel) -> None:
    """A model that wants nothing but image placeholders: they would ask the next forward for pictures it has not got."""
    wants_placeholders = torch.full((random_tiny.model.config.text_config.vocab_size,), -5.0)
    wants_placeholders[random_tiny.forbidden_token_ids] = 50.0

    def push(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output + wants_placeholders

    handle = random_tiny.model.lm_head.register_forward_hook(push)
    try:
        rollout = sample(random_tiny, [Grounding().example(0)])
        greedy = sample(random_tiny, [Grounding().example(0)], temperature=0.0)
    finally:
        handle.remove()
    for result in (rollout, greedy):
        assert not torch.isin(result.completion_ids, torch.tensor(random_tiny.forbidden_token_ids)).any()


def test_the_same_whatever_else_is_in_the_batch(random_tiny: LoadedModel) -> None:
    """Random numbers belong to an example: alone, or beside others, it gets the same completions."""
    example = Arithmetic().example(0)
    alone = sample(random_tiny, [example], seed=5, step=2)
    beside = sample(random_tiny, [Grounding().example(0), example, Grounding().example(1)], seed=5, step=2)
    assert beside.completions[4:8] == alone.completions
    other_step = sample(random_tiny, [example], seed=5, step=3)
    assert other_step.completions != alone.completions


def test_mask_covers_the_end_token_and_nothing_after(random_tiny: LoadedModel) -> None:
    rollout = sample(random_tiny, [Arithmetic().example(i) for i in range(8)], max_new_tokens=40)
    end = random_tiny.eos_token_ids[0]
    for ids, mask, truncated in zip(rollout.completion_ids, rollout.completion_mask, rollout.truncated, strict=True):
        length = int(mask.sum())
        assert mask[:length].all()
        assert not mask[length:].any()
        assert (ids[:length] == end).sum() == (0 if truncated else 1)
        assert truncated or ids[length - 1] == end


@given(st.integers(0, 2**32 - 1))
def test_inverting_the_cumulative_distribution_samples_it(seed: int) -> None:
    """Equally spaced numbers hit every token in proportion to its probability, and never one without any."""
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.softmax(3 * torch.randn(7, generator=generator), -1)
    probabilities[seed % 7] = 0
    probabilities /= probabilities.sum()
    count = 4000
    uniforms = (torch.arange(count) + 0.5) / count
    tokens = invert(probabilities.expand(count, 7), uniforms)
    frequencies = torch.bincount(tokens, minlength=7) / count
    torch.testing.assert_close(frequencies, probabilities, atol=2 / count, rtol=0)
    assert frequencies[seed % 7] == 0


def test_the_largest_number_finds_a_possible_token() -> None:
    probabilities = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    assert invert(probabilities, torch.tensor([float(np.nextafter(np.float32(1), np.float32(0)))])).item() == 1


def test_uniforms_depend_on_seed_step_and_example() -> None:
    base = draw_uniforms(0, 0, "a", 2, 3)
    assert (base == draw_uniforms(0, 0, "a", 2, 3)).all()
    for other in (draw_uniforms(1, 0, "a", 2, 3), draw_uniforms(0, 1, "a", 2, 3), draw_uniforms(0, 0, "b", 2, 3)):
        assert (base != other).any()
    assert ((base >= 0) & (base < 1)).all()
