"""Groups of a step that a person may look at, as plain values: a batch does not outlive its step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recap.data.domains import Domain
from recap.data.objectives import Objective
from recap.data.prompts import Prompt
from recap.learning.batch import Batch


@dataclass(frozen=True)
class SampledCompletion:
    """One completion of a group.

    Attributes:
        tokens: its length, the end token included.
        truncated: whether no end token came.
        rewards: by objective, of those that apply.
        faults: why a verifier gave no reward, by objective.
        advantages: by objective, of those that apply.
        advantage: of the weighted objectives together; None where λ acts on the loss.
    """

    text: str
    tokens: int
    truncated: bool
    rewards: Mapping[str, float]
    faults: Mapping[str, str]
    advantages: Mapping[str, float]
    advantage: float | None


@dataclass(frozen=True)
class SampledGroup:
    """A prompt and its completions.

    Attributes:
        prompt_tokens: its length.
        weights: λ of the objectives, by name, with which the step was taken.
    """

    step: int
    domain: str
    prompt: Prompt
    prompt_tokens: int
    weights: Mapping[str, float]
    completions: Sequence[SampledCompletion]


def sampled_groups(
    batch: Batch,
    domains: Sequence[Domain],
    objectives: Sequence[Objective],
    weights: Mapping[str, float],
    *,
    step: int,
    completions: int,
) -> list[SampledGroup]:
    """Whole groups of this process: the first of every domain, and more until there are enough completions.

    Args:
        completions: how many are enough.
    """
    names = [objective.name for objective in objectives]
    found: list[SampledGroup] = []
    for r, p in _chosen(batch, completions):
        domain = domains[int(batch.rewards[r].domain_index[p])].name
        prompt = batch.rollouts[r].prompts[p]
        length = int(batch.rollouts[r].encoded.attention_mask[p].sum())
        known = {name: weights[name] for name in names if name in weights}
        found.append(SampledGroup(step, domain, prompt, length, known, _completions(batch, r, p, names)))
    return found


def _chosen(batch: Batch, completions: int) -> list[tuple[int, int]]:
    """Places of the groups: rollout and prompt."""
    first: dict[int, tuple[int, int]] = {}
    others: list[tuple[int, int]] = []
    for r, table in enumerate(batch.rewards):
        for p, domain in enumerate(table.domain_index.tolist()):
            if first.setdefault(domain, (r, p)) != (r, p):
                others.append((r, p))
    if not first:
        return []
    enough = -(-completions // batch.rollouts[0].group_size)
    return [*first.values(), *others[: max(0, enough - len(first))]]


def _completions(batch: Batch, r: int, p: int, names: Sequence[str]) -> list[SampledCompletion]:
    rollout, table = batch.rollouts[r], batch.rewards[r]
    size = rollout.group_size
    rows = slice(p * size, (p + 1) * size)
    rewards, applies = table.rewards[p].tolist(), table.applies[p].tolist()
    lengths, truncated = rollout.completion_mask[rows].sum(1).tolist(), rollout.truncated[rows].tolist()
    advantages = combined = None
    if batch.advantages:
        advantages = batch.advantages[r].per_objective[p].tolist()
        together = batch.advantages[r].combined
        combined = None if together is None else together[p].tolist()
    found = []
    for g, text in enumerate(rollout.completions[rows]):
        apply = [k for k, applied in enumerate(applies[g]) if applied]
        found.append(
            SampledCompletion(
                text,
                lengths[g],
                truncated[g],
                rewards={names[k]: rewards[g][k] for k in apply},
                faults={names[k]: error for (at, of, k), error in table.faults.items() if (at, of) == (p, g)},
                advantages={} if advantages is None else {names[k]: advantages[g][k] for k in apply},
                advantage=None if combined is None else combined[g],
            )
        )
    return found
