"""Groups that are worth a forward."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recap.learning.microbatch import Share, cut, is_cheaper_whole


@pytest.mark.parametrize(
    ("prompt", "completion", "kept", "whole"),
    [
        (100, 10, 4, True),  # nothing is skipped: a forward over four prompts is saved
        (100, 10, 3, True),  # 4 x (3 x 20 + 2 x 100) = 1040 against 3 x 3 x 120 = 1080
        (100, 10, 2, False),
        (1, 100, 3, False),  # long completions: skipping a group saves more than its prompt
    ],
)
def test_all_groups_behind_the_prefix_or_fewer_without(prompt: int, completion: int, kept: int, whole: bool) -> None:
    keep = torch.arange(4) < kept
    found = is_cheaper_whole(torch.ones(4, prompt), torch.ones(8, completion), keep)
    assert found is whole


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
    st.integers(1, 6),
    st.integers(1, 200),
    st.integers(0, 2**31),
)
def test_a_share_is_cut_until_it_fits(prompts: list[int], group_size: int, most: int, seed: int) -> None:
    """Every completion once; no part has more tokens than allowed unless it is a single completion."""
    generator = torch.Generator().manual_seed(seed)
    completions = torch.randint(1, 30, (len(prompts), group_size), generator=generator).tolist()
    everything = Share(list(range(len(prompts))), range(group_size))
    parts = cut(everything, prompts, completions, most)
    assert sorted((p, g) for groups, members in parts for p in groups for g in members) == [
        (p, g) for p in range(len(prompts)) for g in range(group_size)
    ]
    for groups, members in parts:
        longest = max(sum(completions[p][g] for g in members) for p in groups)
        tokens = len(groups) * (max(prompts[p] for p in groups) + longest)
        assert tokens <= most or len(groups) * len(members) == 1
    assert cut(everything, prompts, completions, None) == [everything]
