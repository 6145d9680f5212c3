"""Rollouts: groups of completions, the prompt computed once per group."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import gin
import numpy as np
import torch
from torch import Tensor

from recap.data.prompts import Prompt
from recap.model.decoding import decode
from recap.model.prefix import Prefix
from recap.sampling.generators import GenerationRequest, Generator
from recap.sampling.generators.base import collate
from registry.backends.base import EncodedPrompts, LoadedModel


@gin.configurable("rollout", module="recap")
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How completions are sampled.

    Args:
        group_size: G, completions per prompt (the paper: 4).
        max_new_tokens: a completion longer than this is cut off.
        batch_size: prompts of a process that are decoded together, with their groups; None: all of a step. Memory bounds it:
            a decode step takes about as long for many completions as for few.
        temperature: of the softmax; rewards are for the distribution it gives, and so are log-probs.
        shared_prefix: whether the prompt of a group is computed once. A model whose cache cannot be shared is found at the
            first use and computes it for each completion.
        generator: who samples, training and evaluation alike: None: our own decoder, with the weights in training;
            `@vllm_server()` or `@vllm_colocated()`: vLLM, see `docs/generation.md`.

    Raises:
        ValueError: a group of one has no advantage; a length below 1; a temperature of 0 or below.
    """

    group_size: int = 4
    max_new_tokens: int = 512
    batch_size: int | None = None
    temperature: float = 1.0
    shared_prefix: bool = True
    generator: Generator | None = None

    def __post_init__(self) -> None:
        if self.group_size < 2:
            raise ValueError(f"rollout.group_size must be at least 2 to compare completions; it is {self.group_size}")
        if self.max_new_tokens < 1:
            raise ValueError(f"rollout.max_new_tokens must be at least 1; it is {self.max_new_tokens}")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"rollout.batch_size must be at least 1, or None; it is {self.batch_size}")
        if self.temperature <= 0:
            raise ValueError(f"rollout.temperature must be > 0; it is {self.temperature}")


@dataclass(frozen=True)
class Rollout:
    """P groups of G completions.

    Attributes:
        prompts: P of them; their examples know the processed size of their image.
        encoded: the same as tensors.
        completion_ids: [P * G, T], the completions of a group next to each other, padded on the right.
        completion_mask: [P * G, T], 1 up to and including the end token.
        completions: P * G texts.
        truncated: [P * G], true where no end token came.
        sampler_log_probs: [P * G, T], natural logarithm, of each token in the distribution that it was sampled from, as the
            generator gave it; NaN where it did not know; None for our own decoder, whose log-probs are the model's.
        prefix: the prompts as they were computed, for the loss of the first update; None where that was not asked for.
    """

    prompts: list[Prompt]
    encoded: EncodedPrompts
    completion_ids: Tensor
    completion_mask: Tensor
    completions: list[str]
    truncated: Tensor
    sampler_log_probs: Tensor | None = None
    prefix: Prefix | None = None

    @property
    def group_size(self) -> int:
        return len(self.completions) // len(self.prompts)


def token_ids(rollout: Rollout, row: int) -> tuple[int, ...]:
    """The tokens of one of the P * G completions, its end token included."""
    return tuple(rollout.completion_ids[row][rollout.completion_mask[row].bool()].tolist())


def draw_uniforms(
    seed: int, step: int, example_id: str, group_size: int, length: int, *, occurrence: int = 0
) -> np.ndarray:
    """Random numbers in [0, 1) that decide a group's completions, [G, T].

    They depend on the run's seed, the step, the example and its occurrence alone: neither the number of processes nor a
    resume changes what is sampled, and an example that a step holds twice is not sampled twice alike.
    """
    key = _seed_of(seed, step, example_id, occurrence).generate_state(2, np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random((group_size, length), dtype=np.float32)


def _seed_of(seed: int, step: int, example_id: str, occurrence: int) -> np.random.SeedSequence:
    again = [occurrence] if occurrence else []
    return np.random.SeedSequence([seed, step, zlib.crc32(example_id.encode()), *again])


@torch.no_grad()
def roll_out(
    loaded: LoadedModel,
    prompts: Sequence[Prompt],
    *,
    group_size: int,
    max_new_tokens: int,
    temperature: float,
    device: torch.device,
    seed: int = 0,
    step: int = 0,
    shared_prefix: bool = True,
    keep_prefix: bool = False,
    generator: Generator | None = None,
    encoded: EncodedPrompts | None = None,
) -> Rollout:
    """Samples G completions of each prompt; temperature 0 takes the likeliest token instead.

    Our own decoder draws each token by inverting the cumulative distribution at a random number of `draw_uniforms`; another
    generator gets a seed per prompt.

    Args:
        encoded: the prompts as tensors, where they are there already.

    Raises:
        GeneratorError: the generator is not there, or gave an answer that cannot be used.
    """
    examples = [prompt.example for prompt in prompts]
    if encoded is None:
        encoded = loaded.encode([prompt.chat for prompt in prompts], examples, device)
    encoded = encoded.to(device)
    prompts = [
        replace(prompt, example=replace(prompt.example, processed_size=size))
        for prompt, size in zip(prompts, encoded.processed_sizes, strict=True)
    ]
    sampler_log_probs, prefix = None, None
    if generator is not None:
        requests = generation_requests(prompts, encoded, seed, step)
        settings = {"group_size": group_size, "max_new_tokens": max_new_tokens}
        completions = generator.generate(loaded, requests, **settings, temperature=temperature)
        ids, mask, sampler_log_probs = collate(completions, loaded, device)
    else:
        uniforms = None
        if temperature > 0:
            drawn = [
                draw_uniforms(seed, step, example.id, group_size, max_new_tokens, occurrence=example.occurrence)
                for example in examples
            ]
            uniforms = torch.from_numpy(np.concatenate(drawn)).to(device)
        sampled = (group_size, max_new_tokens, temperature, uniforms)
        ids, mask, prefix = decode(loaded, encoded, *sampled, shared_prefix=shared_prefix, keep_prefix=keep_prefix)
    lengths = mask.sum(1).tolist()
    texts = loaded.decode([row[:length] for row, length in zip(ids.tolist(), lengths, strict=True)])
    ended = torch.isin(ids, torch.tensor(loaded.eos_token_ids, device=device)) & mask.bool()
    return Rollout(list(prompts), encoded, ids, mask, texts, ~ended.any(1), sampler_log_probs, prefix)


def generation_requests(
    prompts: Sequence[Prompt], encoded: EncodedPrompts, seed: int, step: int
) -> list[GenerationRequest]:
    """What a generator is told of each prompt; the seed depends on what `draw_uniforms` depends on."""
    requests = []
    rows = zip(encoded.inputs["input_ids"], encoded.attention_mask.bool(), strict=True)
    for prompt, (ids, real) in zip(prompts, rows, strict=True):
        key = _seed_of(seed, step, prompt.example.id, prompt.example.occurrence)
        own_seed = int(key.generate_state(1, np.uint32)[0])
        requests.append(GenerationRequest(prompt.chat, prompt.example.images, ids[real].tolist(), own_seed))
    return requests
