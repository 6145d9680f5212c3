"""The intake of a step: its prompts drawn, encoded and checked, before anything is done with them.

It needs no other process, no accelerator and no weights, only the sources, whose `state_dict` from before it leads back there:
it may run a step ahead of the training (`recap/learning/prefetch.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from recap.data.domains import Domain
from recap.data.draw import Drawn, draw
from recap.data.encoding import Room, check_asking, encode_prompts, encode_targets
from recap.experiment.experiment import Experiment
from recap.sampling.rollout import Sampling
from registry.backends.base import EncodedPrompts, LoadedModel
from registry.example import MalformedExample

Item = TypeVar("Item")
HOPELESS = 32
"""So many examples of a domain refused one after the other, none accepted, and its settings are taken to be wrong."""


@dataclass(frozen=True)
class EncodedPart:
    """Prompts that are worked on together.

    Attributes:
        drawn: the prompts, as they were cut.
        prompts: the same as tensors, on the CPU.
        targets: the completions to imitate as token ids, their end token included; empty where none are.
    """

    drawn: list[Drawn]
    prompts: EncodedPrompts
    targets: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True)
class StepPrompts:
    """This process's share of a step: what the model can read of it.

    Attributes:
        drawn: all of it, in the order drawn.
        reinforced: prompts that are trained by reinforcement, decoded part by part.
        imitated: prompts with targets, in micro-batches.
        cut: how many prompts were cut.
    """

    drawn: list[Drawn]
    reinforced: list[EncodedPart]
    imitated: list[EncodedPart]
    cut: int


@dataclass
class Tried:
    """What has come of the examples so far: domains of which one could be read, and how many were refused, by domain."""

    readable: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)


class Intake:
    """Draws and encodes the prompts of a step; what cannot be read is counted as malformed by its source.

    Args:
        loaded: whose tokenizer or processor reads the prompts.
        rank, processes: which share is drawn.

    Attributes:
        tried: what it knows of the domains, from the steps so far.
    """

    def __init__(self, experiment: Experiment, loaded: LoadedModel, rank: int, processes: int) -> None:
        self.experiment = experiment
        self.domains = list(experiment.domains)
        self.loaded = loaded
        self.share = {"rank": rank, "processes": processes}
        self.tried = Tried()

    def check(self) -> None:
        """Raises ValueError, before the first step, for a domain or a capability that cannot be asked of this model."""
        context, sampled = self.loaded.context_length, self.experiment.rollout.max_new_tokens
        for domain in self.domains:
            room = Room(context, sampled if domain.verifiers else 0)
            check_asking(self.loaded, domain, f"{domain.name}/Domain", room)
        for one in self.experiment.capabilities:
            check_asking(self.loaded, one, f"{one.name}/Capability", Room(context, one.max_new_tokens))

    def __call__(self, step: int) -> StepPrompts:
        """The share of a step, counted from 0.

        Raises:
            ValueError: a domain of which nothing at all can be read; images for a model that cannot see.
        """
        experiment = self.experiment
        drawn = draw(self.domains, experiment.mixture, experiment.prompts_per_step, step=step, **self.share)
        reading = Reading(self.loaded, experiment.rollout, list(drawn))
        supervised = [place for place, item in enumerate(drawn) if item.domain.supervised]
        parts = deal(supervised, micro_batch_size(len(supervised), experiment.accumulation_steps))
        imitated = [found for part in parts for found in reading.imitated(part, experiment.scoring.max_tokens)]
        reinforced = reading.reinforced([place for place, item in enumerate(drawn) if item.domain.verifiers])
        self._count(drawn, reading.refused)
        kept = [item for place, item in enumerate(reading.drawn) if place not in reading.refused]
        return StepPrompts(kept, reinforced, imitated, len(reading.cut - reading.refused.keys()))

    def _count(self, drawn: Sequence[Drawn], refused: Mapping[int, MalformedExample]) -> None:
        for place, (domain, _) in enumerate(drawn):
            if place in refused:
                domain.source.malformed.add(refused[place])
                self.tried.refused[domain.name] += 1
            else:
                self.tried.readable.add(domain.name)
        for name, count in self.tried.refused.items():
            if count >= HOPELESS and name not in self.tried.readable:
                reason = next(refused[place] for place, (domain, _) in enumerate(drawn) if domain.name == name)
                raise ValueError(f"{name}: none of the first {count} examples can be read; for instance {reason}")


class Reading:
    """Encodes the prompts of a step, part by part; each is refused once.

    Attributes:
        drawn: the prompts, as they were cut.
        refused: places of those that cannot be used, with what is wrong with them.
        cut: places of those that were cut.
    """

    def __init__(self, loaded: LoadedModel, rollout: Sampling, drawn: list[Drawn]) -> None:
        self.loaded = loaded
        self.rollout = rollout
        self.drawn = drawn
        self.refused: dict[int, MalformedExample] = {}
        self.cut: set[int] = set()

    def imitated(self, places: Sequence[int], max_tokens: int | None) -> list[EncodedPart]:
        """Prompts with their targets, in parts that have no more than `max_tokens` where that can be."""
        examples = [self.drawn[place].prompt.example for place in places]
        found, refused = encode_targets(self.loaded, examples)
        self.refused |= {places[index]: error for index, error in refused.items()}
        return self._parts({places[index]: target for index, target in found.items()}, max_tokens)

    def _parts(self, targets: Mapping[int, list[int]], max_tokens: int | None) -> list[EncodedPart]:
        kept, prompts = self._encode(list(targets), targets)
        if prompts is None:
            return []
        longest = max(len(targets[place]) for place in kept)
        tokens = len(kept) * (prompts.attention_mask.shape[1] + longest)
        if max_tokens is None or tokens <= max_tokens or len(kept) == 1:
            return [EncodedPart([self.drawn[p] for p in kept], prompts, [targets[p] for p in kept])]
        half = len(kept) // 2
        parts = [{place: targets[place] for place in part} for part in (kept[:half], kept[half:])]
        return [found for part in parts for found in self._parts(part, max_tokens)]

    def reinforced(self, places: Sequence[int]) -> list[EncodedPart]:
        """Prompts for the rollout, in the parts that are decoded together."""
        places = [place for place in places if place not in self.refused]
        size = self.rollout.batch_size or max(1, len(places))
        parts = []
        for start in range(0, len(places), size):
            kept, prompts = self._encode(places[start : start + size], {})
            if prompts is not None:
                parts.append(EncodedPart([self.drawn[place] for place in kept], prompts))
        return parts

    def _encode(self, places: list[int], targets: Mapping[int, list[int]]) -> tuple[list[int], EncodedPrompts | None]:
        """Those of the prompts that can be encoded, and the same as tensors."""
        items = [self.drawn[place] for place in places]
        rooms = [self._room(item.domain, len(targets.get(p, ()))) for p, item in zip(places, items, strict=True)]
        found = encode_prompts(
            self.loaded,
            [item.domain for item in items],
            [item.prompt for item in items],
            rooms,
            read_elsewhere=self.rollout.generator is not None and not targets,
        )
        self.refused |= {places[index]: error for index, error in found.refused.items()}
        kept = [places[index] for index in found.places]
        for place, prompt in zip(kept, found.prompts, strict=True):
            if prompt is not self.drawn[place].prompt:
                self.cut.add(place)
                self.drawn[place] = Drawn(self.drawn[place].domain, prompt)
        return kept, found.tensors

    def _room(self, domain: Domain, target: int) -> Room:
        """Beside what is sampled as well as beside what is imitated."""
        sampled = self.rollout.max_new_tokens if domain.verifiers else 0
        return Room(self.loaded.context_length, max(sampled, target))


def micro_batch_size(prompts: int, number: int) -> int:
    """Prompts of each of at most `number` micro-batches."""
    return max(1, -(-prompts // number))


def deal(items: Sequence[Item], size: int) -> list[list[Item]]:
    """Micro-batches of at most `size`, as even as can be; items are dealt out in turn, which spreads domains evenly."""
    number = -(-len(items) // size)
    return [list(items[i::number]) for i in range(number)]
