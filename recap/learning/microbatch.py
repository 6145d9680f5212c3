"""What one forward works on, as tensors: groups with their advantages, or supervised targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from recap.data.domains import Domain, domain_indices
from recap.data.objectives import NextTokenPrediction, Objective, ObjectiveScope, objective_name
from recap.learning.advantages import Advantages
from recap.learning.intake import EncodedPart, deal
from recap.model.prefix import Prefix
from recap.optimization.grpo import GRPO
from recap.rewards.table import RewardTable
from recap.sampling.rollout import Rollout
from registry.backends.base import EncodedPrompts, LoadedModel
from registry.backends.rows import rows_of


@dataclass(frozen=True)
class ReinforcementBatch:
    """Those P groups of a rollout that are trained on, with their advantages.

    Attributes:
        encoded: the prompts.
        completion_ids, completion_mask: [P * G, T].
        loss_mask: [P * G, T], the tokens that the loss is over.
        advantages: of the P groups.
        applies: [P, G, K].
        domain_index: [P].
        sampler_log_probs: [P * G, T], as in `Rollout`.
        prefix: of the prompts, where they need not be computed again.
    """

    encoded: EncodedPrompts
    completion_ids: Tensor
    completion_mask: Tensor
    loss_mask: Tensor
    advantages: Advantages
    applies: Tensor
    domain_index: Tensor
    sampler_log_probs: Tensor | None = None
    prefix: Prefix | None = None


@dataclass(frozen=True)
class SupervisedBatch:
    """P prompts with the completion to imitate.

    Attributes:
        encoded: the prompts.
        target_ids, mask: [P, T], padded on the right.
        applies: [P, K], 1 for the supervised objectives of each example's domain.
        predictions: P times k -> the kind of next-token prediction.
        domain_index: [P].
    """

    encoded: EncodedPrompts
    target_ids: Tensor
    mask: Tensor
    applies: Tensor
    predictions: list[dict[int, NextTokenPrediction]]
    domain_index: Tensor

    def gradient_scale(self, log_probs: Tensor) -> Tensor:
        """What the gradient of each target token is multiplied by, for each objective: [P, T] -> [P, T, K]."""
        scale = log_probs.new_ones(*log_probs.shape, self.applies.shape[1])
        for p, (predictions, real) in enumerate(zip(self.predictions, self.mask.bool(), strict=True)):
            for k, prediction in predictions.items():
                scale[p, real, k] = prediction.gradient_scale(log_probs[p, real].detach())
        return scale


def supervised_batch(
    part: EncodedPart,
    domains: Sequence[Domain],
    objectives: Sequence[Objective],
    scope: ObjectiveScope,
    pad_token_id: int,
    device: torch.device,
) -> SupervisedBatch:
    """Prompts and targets of next-token prediction, on the device."""
    targets, length = part.targets, max(map(len, part.targets))
    ids = torch.tensor([target + [pad_token_id] * (length - len(target)) for target in targets], device=device)
    mask = torch.tensor([[1] * len(target) + [0] * (length - len(target)) for target in targets], device=device)
    columns = {objective.name: k for k, objective in enumerate(objectives)}
    predictions = [
        {
            columns[objective_name(domain.name, local, scope)]: prediction
            for local, prediction in domain.supervised.items()
        }
        for domain, _ in part.drawn
    ]
    applies = torch.zeros(len(targets), len(objectives))
    for p, own in enumerate(predictions):
        applies[p, list(own)] = 1
    index = domain_indices([domain for domain, _ in part.drawn], domains, device)
    return SupervisedBatch(part.prompts.to(device), ids, mask, applies.to(device), predictions, index)


def reinforcement_batches(
    loaded: LoadedModel,
    rollout: Rollout,
    table: RewardTable,
    advantages: Advantages,
    grpo: GRPO,
    *,
    size: int,
    skip: bool,
    max_tokens: int | None = None,
) -> list[ReinforcementBatch]:
    """What the forwards work on: micro-batches of the groups that are worth one.

    Args:
        size: groups in a micro-batch, at most.
        skip: whether groups without a gradient may be left out, if `grpo` says so.
        max_tokens: of a micro-batch, as in `Scoring`.
    """
    prompt_mask, mask = rollout.encoded.attention_mask, rollout.completion_mask
    keep = torch.ones_like(table.domain_index, dtype=torch.bool)
    if skip and grpo.skip_zero_advantage:
        keep = groups_with_gradient(advantages, grpo.loss_mask(mask, rollout.truncated))
    lengths = (prompt_mask.sum(1).tolist(), mask.view(len(prompt_mask), -1, mask.shape[1]).sum(2).tolist())
    everything = Share(list(range(len(rollout.prompts))), range(rollout.group_size))
    whole = len(rollout.prompts) <= size and cut(everything, *lengths, max_tokens) == [everything]
    if rollout.prefix is not None and keep.any():
        if whole and is_cheaper_whole(prompt_mask, mask, keep):
            keep = torch.ones_like(keep)
        if not (whole and keep.all()):
            rollout.prefix.release()  # of no use
    parts = deal(keep.nonzero()[:, 0].tolist(), size)
    shares = [share for part in parts for share in cut(Share(part, everything.members), *lengths, max_tokens)]
    return [_share_of(loaded, rollout, table, advantages, grpo, share) for share in shares]


class Share(NamedTuple):
    """A part of a rollout: these groups, by the numbers of their prompts, and of each group these completions."""

    groups: list[int]
    members: range


def cut(share: Share, prompts: list[int], completions: list[list[int]], max_tokens: int | None) -> list[Share]:
    """A share in parts, of groups or of one group's completions, that have no more than `max_tokens` where that can be.

    Args:
        prompts: tokens of each prompt, P.
        completions: tokens of each completion, P times G.
    """
    groups, members = share
    widest = max((prompts[p] for p in groups), default=0)
    longest = max((sum(completions[p][g] for g in members) for p in groups), default=0)
    if max_tokens is None or len(groups) * (widest + longest) <= max_tokens or len(groups) * len(members) <= 1:
        return [share]
    if len(groups) > 1:
        half = len(groups) // 2
        parts = [Share(groups[:half], members), Share(groups[half:], members)]
    else:
        half = len(members) // 2
        parts = [Share(groups, members[:half]), Share(groups, members[half:])]
    return [found for part in parts for found in cut(part, prompts, completions, max_tokens)]


def _share_of(
    loaded: LoadedModel, rollout: Rollout, table: RewardTable, advantages: Advantages, grpo: GRPO, share: Share
) -> ReinforcementBatch:
    """A part of a rollout; its prompts are encoded anew only where it cannot be told which pictures are whose."""
    ids, mask, encoded = rollout.completion_ids, rollout.completion_mask, rollout.encoded
    sampler, prefix, combined = rollout.sampler_log_probs, rollout.prefix, advantages.combined
    loss_mask = grpo.loss_mask(mask, rollout.truncated)
    applies, domain_index = table.applies, table.domain_index
    all_groups = share.groups == list(range(len(rollout.prompts)))
    if not all_groups:
        prompts, pictures = [rollout.prompts[p] for p in share.groups], [len(p.example.images) for p in rollout.prompts]
        encoded = rows_of(encoded, share.groups, pictures) or loaded.encode(
            [prompt.chat for prompt in prompts], [prompt.example for prompt in prompts], ids.device
        )
    if not all_groups or len(share.members) < rollout.group_size:
        prefix = None
        groups, members = torch.tensor(share.groups, device=ids.device), slice(share.members.start, share.members.stop)
        rows = (groups[:, None] * rollout.group_size + torch.tensor(share.members, device=ids.device)).flatten()
        length = max(1, int(mask[rows].sum(1).max()))  # of empty completions a column of padding, as `collate` leaves
        ids, mask, loss_mask = (part[rows, :length] for part in (ids, mask, loss_mask))
        sampler = None if sampler is None else sampler[rows, :length]
        combined = None if combined is None else combined[groups, members]
        advantages = Advantages(advantages.per_objective[groups, members], combined)
        applies, domain_index = applies[groups, members], domain_index[groups]
    return ReinforcementBatch(encoded, ids, mask, loss_mask, advantages, applies, domain_index, sampler, prefix)


def is_cheaper_whole(prompt_mask: Tensor, completion_mask: Tensor, keep: Tensor) -> bool:
    """Whether all groups behind the prefix cost no more than the kept ones without it.

    A backward costs two forwards; behind the prefix, prompts need no forward any more, but all of them a backward.

    Args:
        prompt_mask: [P, L].
        completion_mask: [P * G, T].
        keep: [P].
    """
    prompt = prompt_mask.sum(1)
    completion = completion_mask.sum(1).view(len(prompt), -1).sum(1)
    return bool((3 * completion + 2 * prompt).sum() <= (3 * (completion + prompt) * keep).sum())


def groups_with_gradient(advantages: Advantages, loss_mask: Tensor) -> Tensor:
    """[P], false where no completion has both an advantage and a token in the loss: such a group has no gradient."""
    counted = rearrange(loss_mask.any(1), "(p g) -> p g", g=advantages.per_objective.shape[1])
    return (advantages.nonzero & counted).any(1)
