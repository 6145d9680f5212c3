"""Makes what `@replay.self_replay()` replays: completions of the base model that a verifier accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from recap.data.domains import Domain
from recap.data.encoding import Room, encode_prompts
from recap.data.prompts import Prompt
from recap.experiment.experiment import Experiment
from recap.rewards.requests import ScoreRequest
from recap.rewards.workers import RewardWorkers
from recap.sampling.rollout import Rollout, roll_out
from registry.backends.base import LoadedModel
from registry.example import MalformedExample
from registry.replay.base import ReplaySource
from registry.replay.self_replay import Kept, SelfReplay
from registry.replay.wrapper import Wrapper

BATCH = 32
"""Prompts that are answered together, where `rollout.batch_size` says no other number."""


def self_replays(experiment: Experiment) -> Iterator[tuple[Domain, SelfReplay]]:
    """The sources of an experiment that need completions of its model, those within others too."""
    for domain in experiment.domains:
        for source in _within(domain.source):
            if isinstance(source, SelfReplay):
                yield domain, source


def prepare_self_replay(experiment: Experiment, say: Callable[[str], None]) -> None:
    """Makes what is missing of the sources of an experiment, on the first GPU where there is one.

    Args:
        say: tells a line of what is done.

    Raises:
        ValueError: a prompt that is not the domain's, or nothing that the verifier accepts.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded: dict[int, LoadedModel] = {}
    for domain, source in self_replays(experiment):
        if source.prompt != domain.prompt:
            raise ValueError(
                f"replay.self_replay.prompt is {source.prompt!r}, {domain.name}/Domain.prompt {domain.prompt!r}: a completion"
                " is a target of the prompt that it was made with; set both alike"
            )
        if source.file.is_file():
            say(f"{domain.name}: {source.file} is there")
            continue
        model = loaded.get(id(source.model)) or source.model.load()
        loaded[id(source.model)] = model
        model.model.to(device).eval()
        with experiment.rewards as workers:
            about = make(source, domain, model, workers, device, experiment.rollout.batch_size or BATCH, say)
        say(f"{domain.name}: kept {about['kept']} completions of {about['asked']} prompts in {source.file}")


def make(
    source: SelfReplay,
    domain: Domain,
    loaded: LoadedModel,
    workers: RewardWorkers,
    device: torch.device,
    batch: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Asks the model, judges, and keeps the first completion of each prompt that is accepted; what came of it."""
    total = source.examples if source.source.length is None else min(source.examples, source.source.length)
    kept: list[Kept] = []
    asked = 0
    for start in range(0, total, batch):
        drawn = _prompts(source.source, domain, range(start, min(start + batch, total)))
        rooms = [Room(loaded.context_length, source.max_new_tokens)] * len(drawn)
        found = encode_prompts(loaded, [domain] * len(drawn), [prompt for _, prompt in drawn], rooms)
        if found.tensors is None:
            continue
        positions, prompts = [drawn[place][0] for place in found.places], found.prompts
        rollout = roll_out(
            loaded,
            prompts,
            encoded=found.tensors,
            group_size=source.samples,
            max_new_tokens=source.max_new_tokens,
            temperature=source.temperature,
            device=device,
            seed=source.sampling_seed,
        )
        asked += len(prompts)
        kept += _accepted(source, rollout, positions, workers)
        say(f"{domain.name}: {asked} of {total} prompts asked, {len(kept)} completions kept")
    about = {"asked": asked, "kept": len(kept), "model": loaded.description, "prompt": source.prompt}
    source.write(kept, about)
    return about


def _prompts(source: ReplaySource, domain: Domain, positions: range) -> list[tuple[int, Prompt]]:
    found = []
    for position in positions:
        try:
            found.append((position, domain.ask(domain.fill(source.example(position)))))
        except MalformedExample:
            continue
    return found


def _accepted(source: SelfReplay, rollout: Rollout, positions: Sequence[int], workers: RewardWorkers) -> list[Kept]:
    rewards: Sequence[float | None] = [1.0] * len(rollout.completions)
    if source.verifier is not None:
        requests = [
            ScoreRequest(source.verifier, completion, rollout.prompts[number // rollout.group_size].example)
            for number, completion in enumerate(rollout.completions)
        ]
        rewards = workers.score(requests).rewards
    kept: dict[int, Kept] = {}
    for number, (completion, reward) in enumerate(zip(rollout.completions, rewards, strict=True)):
        group = number // rollout.group_size
        ended = not bool(rollout.truncated[number])
        if ended and completion.strip() and reward is not None and reward >= source.threshold and group not in kept:
            kept[group] = Kept(positions[group], rollout.prompts[group].example.id, completion, float(reward))
    return list(kept.values())


def _within(source: ReplaySource) -> Iterator[ReplaySource]:
    yield source
    if isinstance(source, Wrapper):
        for inner in source.sources:
            yield from _within(inner)
