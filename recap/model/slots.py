"""The batch of a decode step: rows that hold a prompt once, and in them slots, one per completion.

A group of four, the prompt `a b c`, after two steps, in one row of four slots; the columns of the key/value cache:

```
slot          . . .  0 1 2 3  0 1 2 3
token         a b c  d e f g  h i j k     slot 1 has sampled e, then i
slot 1 sees   a b c    e        i
```

The prompt's keys and values are held and read once per row instead of once per completion. When completions end, the others
are put into fewer rows or narrower ones; at one slot per row a row is a sequence of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

SLOT_COST = 128
"""Cached tokens that take as long to attend to as a token takes to go through the layers. Of the order of 100 in models of
0.1 to 7 B parameters; only how slots are shared out depends on it."""


@dataclass(frozen=True)
class Slots:
    """R rows of w slots.

    Attributes:
        completion: [R, w], which of P * G completions is decoded there; one that stands twice is decoded twice, for nothing.
        filled: [R, w], false where a slot repeats another one, because a row has nothing else to do there.
    """

    completion: Tensor
    filled: Tensor

    @property
    def width(self) -> int:
        return int(self.completion.shape[1])


def whole_groups(num_prompts: int, group_size: int, width: int, device: torch.device) -> Slots:
    """All completions, in order; `width` divides the group size."""
    completion = torch.arange(num_prompts * group_size, device=device).view(-1, width)
    return Slots(completion, torch.ones_like(completion, dtype=torch.bool))


def share_out(completions: Sequence[int], group_size: int, prompt_length: int, steps: int) -> list[list[int]]:
    """Rows of the given completions, each of one prompt, that are cheapest to decode, after `steps` steps.

    A row of w slots costs w `SLOT_COST` and the tokens that its slots attend to.
    """
    groups = [list(own) for _, own in groupby(sorted(completions), key=lambda completion: completion // group_size)]

    def rows(width: int) -> list[list[int]]:
        return [group[start : start + width] for group in groups for start in range(0, len(group), width)]

    return min(
        (rows(width) for width in range(1, max(map(len, groups)) + 1)),
        key=lambda found: cost(len(found), max(map(len, found)), prompt_length, steps),
    )


def cost(rows: int, width: int, prompt_length: int, steps: int) -> int:
    """Of a decode step, in cached tokens read."""
    return rows * (width * SLOT_COST + prompt_length + width * steps)


def filled_slots(rows: Sequence[Sequence[int]], device: torch.device) -> Slots:
    """The rows as tensors; short ones repeat their first completion."""
    width = max(map(len, rows))
    completion = [[*row, *[row[0]] * (width - len(row))] for row in rows]
    filled = [[slot < len(row) for slot in range(width)] for row in rows]
    return Slots(torch.tensor(completion, device=device), torch.tensor(filled, device=device))


def places_of(slots: Slots, before: Slots) -> Tensor:
    """In which of the R * w slots of `before` each completion of a new layout was decoded: [R', w']."""
    table = torch.zeros(int(before.completion.max()) + 1, dtype=torch.long, device=before.completion.device)
    table[before.completion[before.filled]] = before.filled.flatten().nonzero().flatten()
    return table[slots.completion]


def columns_of(places: Tensor, width: int, prompt_length: int, steps: int) -> tuple[Tensor, Tensor]:
    """Where the cached tokens of a new layout stand in the one before it.

    Args:
        places: [R', w'], see `places_of`.
        width: w of the layout before.
        prompt_length: L, columns of the prompt.
        steps: tokens that each completion has in the cache.

    Returns: rows and columns, [R', L + w' * steps], indices into R rows and L + w * steps columns.
    """
    row, slot = places // width, places % width
    generated = torch.arange(steps, device=places.device)[None, :, None] * width + slot[:, None] + prompt_length
    rows = torch.cat([row[:, :1].expand(-1, prompt_length), row.repeat(1, steps)], dim=1)
    prompt = torch.arange(prompt_length, device=places.device).expand(len(places), -1)
    return rows, torch.cat([prompt, generated.flatten(1)], dim=1)


def slot_mask(prompt_mask: Tensor, width: int, steps: int) -> Tensor:
    """What each slot attends to: [R, 1, w, L + w * steps], from the prompts' mask, [R, L]."""
    own = torch.eye(width, dtype=torch.bool, device=prompt_mask.device).repeat(1, steps)
    prompt = prompt_mask.bool()[:, None].expand(-1, width, -1)
    return torch.cat([prompt, own.expand(len(prompt_mask), -1, -1)], dim=-1)[:, None]
