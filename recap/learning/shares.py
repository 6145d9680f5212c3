"""What a step was made of, domain by domain: how long completions and thoughts were, and where there was anything to learn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recap.data.domains import Domain
from recap.data.objectives import Objective
from recap.learning.advantages import Reduce, group_advantages
from recap.learning.batch import Batch
from registry.verifiers.thinking_length import thought_words


def share_metrics(
    batch: Batch, domains: Sequence[Domain], objectives: Sequence[Objective], device: torch.device, reduce: Reduce
) -> dict[str, float]:
    """Over the completions of all processes; of every domain that had any:

    ``completion_length/DOMAIN``, ``truncated/DOMAIN``: tokens of a completion, and the share that was cut off.
    ``thinking_words/DOMAIN``: words of its thoughts; left out where no completion of the step has `</think>`.
    ``informative/DOMAIN/OBJECTIVE``: the share of prompts to whose completions the objective gives different rewards. On the
    others its advantages are 0, and λ acts on nothing.

    Args:
        reduce: sums over processes.
    """
    lengths = torch.zeros(len(domains), 5, device=device)  # completions, tokens, cut off, words of thought, that think
    prompts = torch.zeros(2, len(domains), len(objectives), device=device)  # judged; with an advantage
    for rollout, table in zip(batch.rollouts, batch.rewards, strict=True):
        thoughts = [thought_words(text) for text in rollout.completions]
        words = torch.tensor([float(len(thought or ())) for thought in thoughts], device=device)
        thinks = torch.tensor([thought is not None for thought in thoughts], device=device)
        own = (torch.ones_like(words), rollout.completion_mask.sum(1), rollout.truncated, words, thinks)
        members = table.domain_index.repeat_interleave(table.applies.shape[1])
        lengths.index_add_(0, members, torch.stack([part.to(lengths) for part in own], 1))
        judged = table.applies.any(1)
        told_apart = (group_advantages(table.rewards, table.applies, "none") != 0).any(1)
        prompts.index_add_(1, table.domain_index, torch.stack([judged, told_apart]).to(prompts))
    summed = reduce(torch.cat([lengths.flatten(), prompts.flatten()]))
    lengths = summed[: lengths.numel()].view_as(lengths)
    return _lengths(lengths, domains) | _informative(summed[lengths.numel() :].view_as(prompts), domains, objectives)


def _lengths(sums: Tensor, domains: Sequence[Domain]) -> dict[str, float]:
    metrics = {}
    for domain, (count, tokens, truncated, words, thinks) in zip(domains, sums.tolist(), strict=True):
        if count:
            metrics[f"completion_length/{domain.name}"] = tokens / count
            metrics[f"truncated/{domain.name}"] = truncated / count
            metrics |= {f"thinking_words/{domain.name}": words / count} if thinks else {}
    return metrics


def _informative(prompts: Tensor, domains: Sequence[Domain], objectives: Sequence[Objective]) -> dict[str, float]:
    judged, told_apart = prompts.tolist()
    return {
        f"informative/{domain.name}/{objective.name.removeprefix(f'{domain.name}/')}": told_apart[n][k] / judged[n][k]
        for n, domain in enumerate(domains)
        for k, objective in enumerate(objectives)
        if judged[n][k]
    }
