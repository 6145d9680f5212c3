"""Capabilities: evaluated skills, measured before, during and after training on held-out examples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import gin
import torch
from annotated_types import Ge

from recap.data.domains import scope_name
from recap.data.names import check_name
from recap.data.prompts import Prompt, ask, check_template
from recap.rewards.requests import ScoreRequest
from recap.rewards.workers import RewardWorkers
from recap.sampling.generators import Generator
from recap.sampling.rollout import roll_out
from registry.answer_places import AnswerPlaces, check_places
from registry.backends.base import LoadedModel
from registry.replay.base import ReplaySource
from registry.verifiers.answers import answer_of
from registry.verifiers.base import Judge

if TYPE_CHECKING:
    from accelerate import Accelerator


@gin.configurable("Capability", module="recap")
@dataclass(frozen=True, kw_only=True)
class Capability:
    """One evaluated skill: held-out examples, asked greedily and judged by a verifier.

    Args:
        source: held-out examples; those at positions 0 to `examples` - 1 are used, the same at every evaluation.
        verifier: what judges a completion; the score is its mean.
        prompt: the template around ``{question}``.
        answer: where a completion's answer stands, as in `Domain.answer`.
        examples: how many.
        max_new_tokens: a completion longer than this is cut off.
        batch_size: prompts per process that are answered together.
        name: the gin scope, unless given.
    """

    source: ReplaySource
    verifier: Judge
    prompt: str = "{question}"
    answer: AnswerPlaces = "tags"
    examples: int = 256
    max_new_tokens: Annotated[int, Ge(1)] = 512
    batch_size: Annotated[int, Ge(1)] = 64
    name: str = field(default_factory=lambda: scope_name("Capability"))

    def __post_init__(self) -> None:
        check_name(self.name, f"{self.name}/Capability.name")
        check_template(self.prompt, f"{self.name}/Capability.prompt")
        check_places(self.answer, f"{self.name}/Capability.answer")
        if isinstance(self.verifier, type):
            raise ValueError(
                f"{self.name}/Capability.verifier is the class {self.verifier.__name__}: it lacks its parentheses, write"
                " @verifiers.name()"
            )
        if self.examples < 1:
            raise ValueError(f"{self.name}/Capability.examples must be at least 1; it is {self.examples}")


@dataclass(frozen=True)
class CapabilityScore:
    """What a capability measured.

    Attributes:
        score: mean of the verifier, in [0, 1].
        standard_error: of that mean over the examples.
        formatted: share of completions with an answer where it should stand (`Capability.answer`): failing to answer in the
            format is not failing to know.
        examples: how many were judged; fewer than asked for where some were malformed.
    """

    score: float
    standard_error: float
    formatted: float
    examples: int


def evaluate(
    loaded: LoadedModel,
    capabilities: Sequence[Capability],
    workers: RewardWorkers,
    accelerator: Accelerator,
    generator: Generator | None = None,
) -> dict[str, CapabilityScore]:
    """Every capability's score, over all processes; the model's mode is restored.

    Args:
        generator: who answers, with the weights that it was given last; None: our own decoder.
    """
    was_training = loaded.model.training
    loaded.model.eval()
    try:
        return {
            capability.name: _evaluate_one(loaded, capability, workers, accelerator, generator)
            for capability in capabilities
        }
    finally:
        loaded.model.train(was_training)


def _evaluate_one(
    loaded: LoadedModel,
    capability: Capability,
    workers: RewardWorkers,
    accelerator: Accelerator,
    generator: Generator | None,
) -> CapabilityScore:
    requests: list[ScoreRequest] = []
    rewards: list[float | None] = []
    for prompts in _batches(capability, accelerator.process_index, accelerator.num_processes):
        with accelerator.autocast():  # the numerics that the model is trained with
            rollout = roll_out(
                loaded,
                prompts,
                group_size=1,
                max_new_tokens=capability.max_new_tokens,
                temperature=0.0,
                device=accelerator.device,
                generator=generator,
            )
        asked = [
            ScoreRequest(capability.verifier, completion, prompt.example)
            for completion, prompt in zip(rollout.completions, rollout.prompts, strict=True)
        ]
        rewards += workers.score(asked).rewards
        requests += [request._replace(example=request.example.without_images()) for request in asked]
    scores = [score for score in rewards if score is not None]
    formatted = sum(answer_of(request.completion, request.example) is not None for request in requests)
    sums = torch.tensor(
        [len(scores), sum(scores), sum(score * score for score in scores), formatted, len(requests)],
        dtype=torch.float64 if accelerator.device.type != "mps" else torch.float32,
        device=accelerator.device,
    )
    count, total, squares, in_format, asked = accelerator.reduce(sums).tolist()
    mean = total / count if count else math.nan
    variance = max(0.0, squares / count - mean * mean) if count else math.nan
    return CapabilityScore(
        score=mean,
        standard_error=math.sqrt(variance / count) if count else math.nan,
        formatted=in_format / asked if asked else math.nan,
        examples=int(count),
    )


def _batches(capability: Capability, rank: int, processes: int) -> Iterator[list[Prompt]]:
    """This process's prompts, a batch at a time: no more pictures are decoded than are asked about together."""
    source = capability.source
    source.position = 0
    while source.position < capability.examples:
        count = min(capability.batch_size * processes, capability.examples - source.position)
        if examples := source.take(count, rank, processes):
            yield [ask(capability.prompt, replace(example, answer_in=capability.answer)) for example in examples]
