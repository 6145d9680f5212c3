"""`recap.integrations.verl` under verl's own reward manager; skipped where verl is missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recap.integrations.verl import ReweightedScores, as_compute_score


class Words:
    """What the managers ask of a tokenizer."""

    eos_token = "</s>"

    def decode(self, ids, skip_special_tokens=True):
        return " ".join({1: "seven", 2: "eight"}[int(token)] for token in ids if int(token))


def batch(verl):
    """Two completions of one question: 'seven', right, of 1 token; 'eight seven', of 2 tokens."""
    rows = torch.tensor([[1, 0], [2, 1]])
    columns = {
        "data_source": ["words", "words"],
        "reward_model": [{"ground_truth": "seven"}, {"ground_truth": "seven"}],
        "extra_info": [{"split": "train", "index": 0}, {"split": "train", "index": 0}],
    }
    tensors = {
        "prompts": torch.ones(2, 1, dtype=torch.long),
        "responses": rows,
        "attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]]),
    }
    return verl.DataProto.from_single_dict({**tensors, **{name: _objects(values) for name, values in columns.items()}})


def _objects(values):
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def exactly(completion, example):
    return float(completion == example.answer)


def short(completion, example):
    return 1 / len(completion.split())


exactly.quick = short.quick = True  # called in this process


def test_batch_manager_puts_the_weighted_score_on_the_last_token():
    verl = pytest.importorskip("verl")
    manager_of = pytest.importorskip("verl.workers.reward_manager.batch").BatchRewardManager
    scores = ReweightedScores({"exactly": exactly, "short": short}, "uniform")
    found = manager_of(Words(), 0, scores)(batch(verl), return_dict=True)
    weight = found["reward_extra_info"]["weight/exactly"][0]
    expected = [[2.0 * weight, 0.0], [0.0, 0.5 * weight]]
    torch.testing.assert_close(found["reward_tensor"], torch.tensor(expected))
    assert found["reward_extra_info"]["exactly"] == [1.0, 0.0]


def test_naive_manager_takes_a_verifier():
    verl = pytest.importorskip("verl")
    manager_of = pytest.importorskip("verl.workers.reward_manager.naive").NaiveRewardManager
    found = manager_of(Words(), 0, as_compute_score(exactly))(batch(verl))
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
