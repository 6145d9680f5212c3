"""The rewards of a rollout, as tensors; workers judge it while the next one is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from recap.data.domains import Domain, domain_indices
from recap.data.objectives import Objective, ObjectiveScope, objective_name
from recap.rewards.requests import ScoreRequest, ScoreResult
from recap.rewards.table import RewardTable
from recap.rewards.workers import PendingScores, RewardWorkers
from recap.sampling.rollout import Rollout, token_ids
from registry.verifiers.base import GroupVerifier, Judge


@dataclass(frozen=True)
class PendingRewards:
    """A rollout that is being judged.

    Attributes:
        domains: of its P prompts.
        places: prompt, completion and verifier's name in the domain, of each request.
        scores: of the requests.
    """

    rollout: Rollout
    domains: list[Domain]
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
        left_out = torch.zeros(rewards.shape[:2], dtype=torch.bool)
        faults: dict[tuple[int, int, int], str] = {}
        for index, ((p, g, local), score) in enumerate(zip(self.places, result.rewards, strict=True)):
            k = columns[objective_name(self.domains[p].name, local, scope)]
            if index in result.errors:
                faults[p, g, k] = result.errors[index]
                left_out[p, g] |= self.scores.workers.failures == "left_out"
            if score is not None:
                rewards[p, g, k] = score
                applies[p, g, k] = True
        applies[left_out] = False
        own = domain_indices(self.domains, domains, device)
        return RewardTable(rewards.to(device), applies.to(device), own, int(left_out.sum()), faults), result


def begin_verification(rollout: Rollout, domains: Sequence[Domain], workers: RewardWorkers) -> PendingRewards:
    """Asks every verifier of each completion's domain; `domains` are those of the rollout's prompts."""
    places: list[tuple[int, int, str]] = []
    requests: list[ScoreRequest] = []
    for row in range(len(rollout.completions)):
        p, g = divmod(row, rollout.group_size)
        for local, verifier in domains[p].verifiers.items():
            places.append((p, g, local))
            requests.append(score_request(verifier, rollout, row))
    return PendingRewards(rollout, list(domains), places, workers.begin(requests))


def score_request(verifier: Judge, rollout: Rollout, row: int) -> ScoreRequest:
    """One of the P * G completions of a rollout for a verifier, with its tokens where that may ask for them."""
    ids = token_ids(rollout, row) if isinstance(verifier, GroupVerifier) else None
    example = rollout.prompts[row // rollout.group_size].example
    return ScoreRequest(verifier, rollout.completions[row], example, ids)
