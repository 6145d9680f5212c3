"""Evaluation: every capability's held-out examples asked, judged, and gathered from all processes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from accelerate.utils import gather_object

from recap.data.encoding import Room, encode_prompts
from recap.data.prompts import Prompt
from recap.evaluation.capabilities import Capability
from recap.evaluation.identity import cluster_of, digest_of
from recap.evaluation.outcomes import Outcome, Outcomes
from recap.parallel.local_work import local_work
from recap.rewards.requests import ScoreRequest
from recap.rewards.verification import score_request
from recap.rewards.workers import PendingScores, RewardWorkers
from recap.sampling.generators import Generator
from recap.sampling.rollout import Rollout, roll_out
from registry.backends.base import EncodedPrompts, LoadedModel
from registry.replay.malformed import Malformed
from registry.verifiers.answers import answer_of, lenient
from registry.verifiers.base import Judge

if TYPE_CHECKING:
    from accelerate import Accelerator


def evaluate(
    loaded: LoadedModel,
    capabilities: Sequence[Capability],
    workers: RewardWorkers,
    accelerator: Accelerator,
    generator: Generator | None = None,
    *,
    seed: int = 0,
    step: int = 0,
) -> Outcomes:
    """What came of every capability's examples, over all processes; the model's mode is restored.

    Args:
        generator: who answers, with the weights that it was given last; None: our own decoder.
        seed: of the run; with the step it seeds the samples of `Capability.samples`. Other steps draw other samples, so that
            those of two evaluations are independent.
    """
    was_training = loaded.model.training
    loaded.model.eval()
    try:
        return {
            capability.name: _Evaluation(loaded, capability, workers, accelerator, generator, seed, step).outcomes()
            for capability in capabilities
        }
    finally:
        loaded.model.train(was_training)


@dataclass(frozen=True)
class _Asked:
    """A prompt, the position of its example in the source, and which example it is by content."""

    position: int
    prompt: Prompt
    digest: str
    cluster: str


@dataclass(frozen=True)
class _Judging:
    """Answers that the workers are judging: `rewards` has a strict and a lenient score for each."""

    answers: list[Outcome]
    rewards: PendingScores

    def outcomes(self) -> list[Outcome]:
        scores = self.rewards.result().rewards
        pairs = zip(self.answers, scores[::2], scores[1::2], strict=True)
        return [replace(answer, score=strict, lenient=found) for answer, strict, found in pairs]


@dataclass(frozen=True)
class _Evaluation:
    """One capability at one step."""

    loaded: LoadedModel
    capability: Capability
    workers: RewardWorkers
    accelerator: Accelerator
    generator: Generator | None
    seed: int
    step: int

    def outcomes(self) -> list[Outcome]:
        """By position and sample, the same on every process."""
        rows: list[Outcome] = []
        judging: _Judging | None = None
        with local_work(self.accelerator):
            for batch, encoded in self.batches():
                answered = self.answer(batch, encoded)
                if judging is not None:  # judged while this batch was answered
                    rows += judging.outcomes()
                judging = answered
            if judging is not None:
                rows += judging.outcomes()
        gathered: list[Outcome] = gather_object(rows)
        return sorted(gathered, key=lambda row: (row.position, row.sample))

    def batches(self) -> Iterator[tuple[list[_Asked], EncodedPrompts]]:
        """This process's prompts, a batch at a time: no more pictures are decoded than are asked about together.

        What the model cannot read is left out and counted by the source, anew in every evaluation.
        """
        capability, source = self.capability, self.capability.source
        source.malformed = Malformed()
        count = capability.examples if source.length is None else min(capability.examples, source.length)
        batch: list[_Asked] = []
        for position in range(self.accelerator.process_index, count, self.accelerator.num_processes):
            source.position = position
            for example in source.take(1):  # none where it is malformed
                prompt = capability.ask(replace(example, answer_in=capability.answer))
                batch.append(_Asked(position, prompt, digest_of(example), cluster_of(example)))
            if len(batch) == capability.batch_size:
                yield from self.readable(batch)
                batch = []
        yield from self.readable(batch)

    def readable(self, batch: Sequence[_Asked]) -> Iterator[tuple[list[_Asked], EncodedPrompts]]:
        """Those of a batch that the model can read, as tensors; nothing where there is none."""
        room = Room(self.loaded.context_length, self.capability.max_new_tokens)
        found = encode_prompts(
            self.loaded,
            [self.capability] * len(batch),
            [asked.prompt for asked in batch],
            [room] * len(batch),
            read_elsewhere=self.generator is not None,
        )
        for error in found.refused.values():
            self.capability.source.malformed.add(error)
        if found.tensors is not None:
            kept = zip(found.places, found.prompts, strict=True)
            yield [replace(batch[place], prompt=prompt) for place, prompt in kept], found.tensors

    def answer(self, batch: Sequence[_Asked], encoded: EncodedPrompts) -> _Judging:
        """Answers a batch, greedily and as often as is to be sampled, and sets the workers to the answers."""
        answers, requests = _read(batch, self.roll_out(batch, 1, 0.0, encoded), 0, self.capability.verifier)
        samples = self.capability.samples
        together = max(1, self.capability.batch_size // max(1, samples))  # as many completions as without samples
        for start in range(0, len(batch) if samples else 0, together):
            part = batch[start : start + together]
            whole = encoded if len(part) == len(batch) else None
            rollout = self.roll_out(part, samples, self.capability.temperature, whole)
            more, asked = _read(part, rollout, 1, self.capability.verifier)
            answers, requests = answers + more, requests + asked
        return _Judging(answers, self.workers.begin(requests))

    def roll_out(
        self, batch: Sequence[_Asked], group_size: int, temperature: float, encoded: EncodedPrompts | None = None
    ) -> Rollout:
        with self.accelerator.autocast():  # the numerics that the model is trained with
            return roll_out(
                self.loaded,
                [asked.prompt for asked in batch],
                encoded=encoded,
                group_size=group_size,
                max_new_tokens=self.capability.max_new_tokens,
                temperature=temperature,
                device=self.accelerator.device,
                seed=evaluation_seed(self.seed, self.capability.name),
                step=self.step,
                generator=self.generator,
            )


def evaluation_seed(seed: int, capability: str) -> int:
    """The seed of a capability's samples: neither training nor another capability draws the same random numbers."""
    key = np.random.SeedSequence([seed, zlib.crc32(f"evaluation of {capability}".encode())])
    return int(key.generate_state(1, np.uint64)[0])


def _read(
    batch: Sequence[_Asked], rollout: Rollout, first_sample: int, verifier: Judge
) -> tuple[list[Outcome], list[ScoreRequest]]:
    """The answers of a rollout, without scores, and two requests for each: its strict and its lenient reading.

    Both look for the answer where it should stand; the lenient one looks on where there is none.
    """
    answers, requests = [], []
    lengths = rollout.completion_mask.sum(1).tolist()
    for p, (asked, prompt) in enumerate(zip(batch, rollout.prompts, strict=True)):
        example, everywhere = prompt.example, lenient(prompt.example)
        for g in range(rollout.group_size):
            row = p * rollout.group_size + g
            completion = rollout.completions[row]
            formatted = answer_of(completion, example) is not None
            answers.append(
                Outcome(
                    example=example.id,
                    position=asked.position,
                    digest=asked.digest,
                    cluster=asked.cluster,
                    sample=first_sample + g,
                    score=None,
                    lenient=None,
                    formatted=formatted,
                    completion=completion,
                    tokens=int(lengths[row]),
                    truncated=bool(rollout.truncated[row]),
                    chance=1 / len(example.choices) if example.choices else 0.0,
                    question=example.question,
                    reference=example.answer,
                )
            )
            readings = (example, example if formatted else everywhere)
            asking = score_request(verifier, rollout, row)
            requests += [asking._replace(example=reading) for reading in readings]
    return answers, requests
