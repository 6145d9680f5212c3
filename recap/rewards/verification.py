"""The rewards of a rollout, as tensors; workers judge it while the next one is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recap.data.domains import Domain
from recap.data.objectives import Objective, ObjectiveScope, objective_name
from recap.rewards.workers import PendingScores, RewardWorkers, ScoreRequest, ScoreResult
from recap.sampling.rollout import Rollout, domain_indices


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
class PendingRewards:
    """A rollout that is being judged.

    Attributes:
        places: prompt, completion and verifier's name in the domain, of each request.
        scores: of the requests.
    """

    rollout: Rollout
    places: list[tuple[int, int, str]]
    scores: PendingScores

    def result(
        self, domains: Sequence[Domain], objectives: Sequence[Objective], scope: ObjectiveScope, device: torch.device
    ) -> tuple[RewardTable, ScoreResult]:
        """The table, once it is there, and what the verifiers failed on; raises what `RewardWorkers.score` raises."""
        rollout, columns = self.rollout, {objective.name: k for k, objective in enumerate(objectives)}
        result = self.scores.result()
        rewards = torch.zeros(len(rollout.prompts), rollout.group_size, len(objectives))
        applies = torch.zeros(rewards.shape, dtype=torch.bool)
        for (p, g, local), score in zip(self.places, result.rewards, strict=True):
            if score is not None:
                k = columns[objective_name(rollout.prompts[p].domain.name, local, scope)]
                rewards[p, g, k] = score
                applies[p, g, k] = True
        index = domain_indices(rollout.prompts, domains, device)
        return RewardTable(rewards.to(device), applies.to(device), index), result


def begin_verification(rollout: Rollout, workers: RewardWorkers) -> PendingRewards:
    """Asks every verifier of each completion's domain."""
    places: list[tuple[int, int, str]] = []
    requests: list[ScoreRequest] = []
    for row, completion in enumerate(rollout.completions):
        p, g = divmod(row, rollout.group_size)
        prompt = rollout.prompts[p]
        for local, verifier in prompt.domain.verifiers.items():
            places.append((p, g, local))
            requests.append(ScoreRequest(verifier, completion, prompt.example))
    return PendingRewards(rollout, places, workers.begin(requests))
