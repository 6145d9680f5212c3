"""Groups that are worth a forward."""

from __future__ import annotations

import pytest
import torch

from recap.learning.microbatch import is_cheaper_whole


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
