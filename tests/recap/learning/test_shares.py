"""Lengths and informative prompts of a step, counted by hand, and alike on any number of processes."""

from __future__ import annotations

import doctest
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from recap.learning.batch import Batch
from recap.learning.shares import share_metrics
from recap.rewards.table import RewardTable
from registry.verifiers import thinking_length

DOMAINS: Any = [SimpleNamespace(name="maths"), SimpleNamespace(name="reading"), SimpleNamespace(name="silent")]
OBJECTIVES: Any = [SimpleNamespace(name="accuracy"), SimpleNamespace(name="maths/format")]


def rollout(completions: list[str], lengths: list[int], truncated: list[bool]) -> Any:
    mask = (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).long()
    return SimpleNamespace(completions=completions, completion_mask=mask, truncated=torch.tensor(truncated))


def table(rewards: list[list[list[float | None]]], domains: list[int]) -> RewardTable:
    """Rewards [P, G, K], None where one does not apply."""
    applies = torch.tensor([[[value is not None for value in row] for row in group] for group in rewards])
    values = torch.tensor([[[value or 0.0 for value in row] for row in group] for group in rewards])
    return RewardTable(values, applies, torch.tensor(domains))


def batches() -> list[Batch]:
    """Two processes: three groups of two."""
    first = rollout(
        ["<think>one two</think>3", "no thought", "<think>a b c d</think>5", "<think></think>"],
        [4, 2, 6, 2],
        [False, True, False, False],
    )
    second = rollout(["plain words", "more"], [3, 1], [False, False])
    tables = [
        table([[[1.0, 1.0], [0.0, 1.0]], [[1.0, 0.5], [1.0, 0.5]]], [0, 0]),
        table([[[None, None], [0.5, None]]], [1]),
    ]
    return [Batch([part], [judged], [], []) for part, judged in zip((first, second), tables, strict=True)]


def measured(batch: Batch, reduce: Any = lambda sums: sums) -> dict[str, float]:
    return share_metrics(batch, DOMAINS, OBJECTIVES, torch.device("cpu"), reduce)


def both() -> Batch:
    one, two = batches()
    return Batch(one.rollouts + two.rollouts, one.rewards + two.rewards, [], [])


def test_counted_by_hand() -> None:
    assert measured(both()) == {
        "completion_length/maths": pytest.approx((4 + 2 + 6 + 2) / 4),
        "truncated/maths": 0.25,
        "thinking_words/maths": pytest.approx((2 + 0 + 4 + 0) / 4),
        "completion_length/reading": 2.0,
        "truncated/reading": 0.0,  # no completion there thinks, and the third domain had none
        "informative/maths/accuracy": 0.5,  # the second group's rewards are equal
        "informative/maths/format": 0.0,
        "informative/reading/accuracy": 0.0,  # one completion of its group was judged
    }


def test_thoughts_that_shrank_to_nothing_have_no_words_and_are_thoughts() -> None:
    answers = rollout(["<think></think>4", "<think> </think>5"], [2, 2], [False, False])
    found = measured(Batch([answers], [table([[[1.0, 1.0], [0.0, 1.0]]], [0])], [], []))
    assert found["thinking_words/maths"] == 0.0


def test_two_processes_sum_to_the_same() -> None:
    sums: list[Tensor] = []

    def keep(own: Tensor) -> Tensor:
        sums.append(own)
        return own

    for batch in batches():
        measured(batch, keep)
    for batch in batches():
        assert measured(batch, lambda own: sums[0] + sums[1]) == measured(both())


def test_examples_of_thoughts() -> None:
    result = doctest.testmod(thinking_length)
    assert result.attempted
    assert not result.failed
    assert len(thinking_length.thought_words("<think>two and two make four</think><answer>4</answer>") or ()) == 5
    assert thinking_length.thought_words("four") is None
