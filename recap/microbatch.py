"""What one forward works on, as tensors: the rewards of a rollout, or supervised targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recap.domains import Domain
from recap.objectives import Objective, ObjectiveScope, objective_name
from recap.rewards import RewardWorkers, ScoreRequest, ScoreResult
from recap.rollout import Prompt, Rollout
from registry.backends.base import EncodedPrompts, LoadedModel


@dataclass(frozen=True)
class RewardTable:
    """Rewards of the P groups of a rollout.

    Attributes:
        rewards: [P, G, K].
        applies: [P, G, K], false where objective k says nothing about the completion.
        domain_index: [P].
    """

    rewards: Tensor
    applies: Tensor
    domain_index: Tensor


@dataclass(frozen=True)
class SupervisedBatch:
    """P prompts with the completion to imitate.

    Attributes:
        encoded: the prompts.
        target_ids, mask: [P, T], padded on the right.
        applies: [P, K], 1 for the supervised objectives of each example's domain.
        domain_index: [P].
    """

    encoded: EncodedPrompts
    target_ids: Tensor
    mask: Tensor
    applies: Tensor
    domain_index: Tensor


def reward_tables(
    rollouts: Sequence[Rollout],
    workers: RewardWorkers,
    domains: Sequence[Domain],
    objectives: Sequence[Objective],
    scope: ObjectiveScope,
    device: torch.device,
) -> tuple[list[RewardTable], ScoreResult]:
    """Judges all rollouts of a step in one go, so that slow verifiers run side by side.

    Returns: a table per rollout, and what the verifiers failed on.
    """
    columns = {objective.name: k for k, objective in enumerate(objectives)}
    places: list[tuple[int, int, int, int]] = []  # rollout, prompt, completion, objective
    requests: list[ScoreRequest] = []
    for r, rollout in enumerate(rollouts):
        for row, completion in enumerate(rollout.completions):
            p, g = divmod(row, rollout.group_size)
            prompt = rollout.prompts[p]
            for local, verifier in prompt.domain.verifiers.items():
                places.append((r, p, g, columns[objective_name(prompt.domain.name, local, scope)]))
                requests.append(ScoreRequest(verifier, completion, prompt.example))
    result = workers.score(requests)

    shapes = [(len(rollout.prompts), rollout.group_size, len(objectives)) for rollout in rollouts]
    rewards = [torch.zeros(shape) for shape in shapes]
    applies = [torch.zeros(shape, dtype=torch.bool) for shape in shapes]
    for (r, p, g, k), score in zip(places, result.rewards, strict=True):
        if score is not None:
            rewards[r][p, g, k] = score
            applies[r][p, g, k] = True
    tables = [
        RewardTable(reward.to(device), applied.to(device), domain_indices(rollout.prompts, domains, device))
        for reward, applied, rollout in zip(rewards, applies, rollouts, strict=True)
    ]
    return tables, result


def supervised_batch(
    loaded: LoadedModel,
    prompts: Sequence[Prompt],
    domains: Sequence[Domain],
    objectives: Sequence[Objective],
    scope: ObjectiveScope,
    device: torch.device,
) -> SupervisedBatch:
    """Prompts and targets of next-token prediction."""
    encoded = loaded.encode([prompt.text for prompt in prompts], [prompt.example for prompt in prompts], device)
    targets = loaded.encode_completions([prompt.example.supervised_target for prompt in prompts])
    length = max(map(len, targets))
    ids = torch.tensor([target + [loaded.pad_token_id] * (length - len(target)) for target in targets], device=device)
    mask = torch.tensor([[1] * len(target) + [0] * (length - len(target)) for target in targets], device=device)
    columns = {objective.name: k for k, objective in enumerate(objectives)}
    applies = torch.zeros(len(prompts), len(objectives), device=device)
    for p, prompt in enumerate(prompts):
        for local in prompt.domain.supervised:
            applies[p, columns[objective_name(prompt.domain.name, local, scope)]] = 1
    return SupervisedBatch(encoded, ids, mask, applies, domain_indices(prompts, domains, device))


def domain_indices(prompts: Sequence[Prompt], domains: Sequence[Domain], device: torch.device) -> Tensor:
    """[P], which of the experiment's domains each prompt belongs to."""
    index = {domain.name: n for n, domain in enumerate(domains)}
    return torch.tensor([index[prompt.domain.name] for prompt in prompts], device=device)
