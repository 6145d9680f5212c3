import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from recap.data.prompts import Prompt
from recap.model.decoding import invert
from recap.sampling.rollout import Rollout, draw_uniforms, generation_requests, roll_out
from registry.backends.base import LoadedModel
from registry.example import Example
from registry.replay.arithmetic import Arithmetic
from registry.replay.files import Jsonl
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


def rows(tmp_path: Path, number: int) -> Jsonl:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"question": f"{n}+1=?", "answer": str(n + 1)}) + "\n" for n in range(number)))
    return Jsonl(str(file))


def test_an_example_that_a_step_holds_twice_is_not_sampled_twice_alike(
    random_tiny: LoadedModel, tmp_path: Path
) -> None:
    """The first time as ever; the same on one process, on two, and after a resume."""
    source = rows(tmp_path, 2)
    examples = source.take(6)
    rollout = sample(random_tiny, examples, seed=5, step=2)
    groups = [tuple(rollout.completions[4 * p : 4 * p + 4]) for p in range(6)]
    assert len(set(groups)) == 6
    first = sample(random_tiny, [replace(example, occurrence=0) for example in examples[:2]], seed=5, step=2)
    assert rollout.completions[:8] == first.completions
    ranks = [rows(tmp_path, 2).take(6, rank, num_processes=2) for rank in range(2)]
    shares = sorted((e.id, e.occurrence) for share in ranks for e in share)
    assert shares == sorted((e.id, e.occurrence) for e in examples)
    resumed = rows(tmp_path, 2)
    resumed.load_state_dict({**source.state_dict(), "position": 3})
    assert resumed.take(3) == examples[3:]


def test_a_generator_gets_another_seed_for_another_occurrence(random_tiny: LoadedModel) -> None:
    examples = [replace(Arithmetic().example(0), occurrence=occurrence) for occurrence in range(3)]
    rollout = sample(random_tiny, examples)
    requests = generation_requests(rollout.prompts, rollout.encoded, 0, 0)
    assert len({request.seed for request in requests}) == 3


def test_uniforms_of_a_first_occurrence_are_those_of_older_versions() -> None:
    key = np.random.SeedSequence([3, 7, zlib.crc32(b"a/1")]).generate_state(2, np.uint64)
    expected = np.random.Generator(np.random.Philox(key=key)).random((2, 3), dtype=np.float32)
    assert (draw_uniforms(3, 7, "a/1", 2, 3) == expected).all()


def test_uniforms_depend_on_seed_step_and_example() -> None:
    base = draw_uniforms(0, 0, "a", 2, 3)
    assert (base == draw_uniforms(0, 0, "a", 2, 3)).all()
    others = (
        draw_uniforms(1, 0, "a", 2, 3), draw_uniforms(0, 1, "a", 2, 3), draw_uniforms(0, 0, "b", 2, 3),
        draw_uniforms(0, 0, "a", 2, 3, occurrence=1),
    )  # fmt: skip
    for other in others:
        assert (base != other).any()
    assert ((base >= 0) & (base < 1)).all()
