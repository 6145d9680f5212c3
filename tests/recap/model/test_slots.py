"""The layout of a decode batch: every completion once, its tokens where they were, and nobody sees a neighbour."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from recap.model.slots import SLOT_COST, columns_of, cost, filled_slots, places_of, share_out, slot_mask, whole_groups

CPU = torch.device("cpu")


@given(st.data(), st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.integers(0, 5))
def test_tokens_move_with_their_completions(
    data: st.DataObject, prompts: int, group_size: int, prompt_length: int, steps: int
) -> None:
    """A cache that holds (prompt, column) in the prompt and (completion, step) behind it, after leaving twice."""
    slots = whole_groups(prompts, group_size, group_size, CPU)
    columns = torch.arange(prompt_length)
    prompt = torch.stack([torch.stack([torch.full_like(columns, -p - 1), columns], -1) for p in range(prompts)])
    own = [torch.stack([slots.completion, torch.full_like(slots.completion, t)], -1) for t in range(steps)]
    cache = torch.cat([prompt, *own], dim=1)  # [R, C, 2]
    left = list(range(prompts * group_size))
    for _ in range(2):
        left = sorted(data.draw(st.sets(st.sampled_from(left), min_size=1)))
        rows = share_out(left, group_size, prompt_length, steps)
        assert sorted(completion for row in rows for completion in row) == left
        assert all(len({completion // group_size for completion in row}) == 1 for row in rows)
        later = filled_slots(rows, CPU)
        cache = cache[columns_of(places_of(later, slots), slots.width, prompt_length, steps)]
        slots = later
        for row, completions in enumerate(slots.completion.tolist()):
            assert cache[row, :prompt_length, 0].eq(-(completions[0] // group_size) - 1).all()
            assert cache[row, :prompt_length, 1].equal(columns)
            generated = cache[row, prompt_length:].view(steps, slots.width, 2)
            for slot, completion in enumerate(completions):
                assert generated[:, slot].tolist() == [[completion, t] for t in range(steps)]


def test_a_slot_sees_its_prompt_and_itself() -> None:
    found = slot_mask(torch.tensor([[0, 1], [1, 1]]), width=2, steps=2).int().tolist()
    assert found == [
        [[[0, 1, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1]]],
        [[[1, 1, 1, 0, 1, 0], [1, 1, 0, 1, 0, 1]]],
    ]


def test_wide_rows_where_prompts_are_long_and_narrow_ones_where_groups_are_uneven() -> None:
    assert share_out(range(8), 4, prompt_length=200, steps=10) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    uneven = [0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 24]
    assert share_out(uneven, 8, prompt_length=10, steps=10) == [[completion] for completion in uneven]
    assert max(map(len, share_out(uneven, 8, prompt_length=5000, steps=10))) == 8


@given(st.sets(st.integers(0, 23), min_size=1), st.integers(1, 2000), st.integers(0, 500))
def test_rows_are_never_dearer_than_one_completion_each(left: set[int], prompt_length: int, steps: int) -> None:
    rows = share_out(sorted(left), 8, prompt_length, steps)
    alone = cost(len(left), 1, prompt_length, steps)
    assert (
        cost(len(rows), max(map(len, rows)), prompt_length, steps)
        <= alone
        == len(left) * (SLOT_COST + prompt_length + steps)
    )
