"""One global batch has one gradient, however it is cut into processes and micro-batches.

Started by torchrun, this file computes the gradients of its cases: `torchrun ... test_parallel.py CASES.json OUTPUT`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from recap.experiment.config import LoadedConfig, load_config
from recap.learning.intake import Intake
from recap.learning.loss import mean_losses
from recap.learning.passes import EmptyPass, ReinforcementPass, SupervisedPass
from recap.learning.trainer import Trainer
from tests.processes import torchrun

ROOT = Path(__file__).resolve().parents[3]
QUICKSTART = ROOT / "experiments" / "quickstart.gin"
Found = dict[str, Any]

BASE = [
    "rewards.workers = 1",
    "rollout.group_size = 4",
    "rollout.max_new_tokens = 24",
    "rollout.temperature = 1.5",  # at 1 the shipped weights answer alike: too few groups would have a gradient
    "train.prompts_per_step = 11",
    "train.mixture = @mixtures.weighted()",
    "mixtures.weighted.rates = {'counting': 4, 'arithmetic': 3, 'grounding': 3, 'reading': 1}",
]
CASES: dict[str, list[str]] = {
    "sequence": [],
    "token": ["grpo.normalization = 'token'", "train.objective_scope = 'per_domain'", "grpo.mask_truncated = True"],
    "constant": ["grpo.normalization = 'constant'", "grpo.scale = 'none'"],
    "batch statistics": ["grpo.scale = 'batch'", "train.weights_act_on = 'normalized_advantage'"],
    "rewards weighted": ["grpo.normalization = 'token'", "train.weights_act_on = 'reward'"],
    "reference model": ["grpo.kl_coefficient = 0.1", "grpo.normalization = 'token'"],
    "activations computed again": ["train.activation_checkpointing = True", "grpo.kl_coefficient = 0.1"],
    "gradient norms": ["train.reweighting = @reweighting.gradnorm"],
    "a domain on one rank": [
        "train.prompts_per_step = 3",
        "mixtures.weighted.rates = {'counting': 1, 'arithmetic': 0, 'grounding': 1, 'reading': 1}",
        "grpo.normalization = 'token'",
        "grpo.skip_zero_advantage = False",  # else a group may happen to be left out, and no pass would be empty
    ],
    "text and pictures apart": [
        "train.prompts_per_step = 2",
        "mixtures.weighted.rates = {'counting': 0, 'arithmetic': 1, 'grounding': 1, 'reading': 0}",
        "grpo.skip_zero_advantage = False",
    ],
    "supervised only": [
        "train.prompts_per_step = 3",
        "mixtures.weighted.rates = {'counting': 0, 'arithmetic': 0, 'grounding': 0, 'reading': 1}",
    ],
}

QUICK = ("token", "a domain on one rank")


def gradient_of(bindings: list[str]) -> Found:
    """One step up to the optimizer, as this process sees it, with weights λ that differ from objective to objective."""
    trainer = Trainer(load_config(QUICKSTART, bindings).experiment)
    with trainer.experiment.rewards:
        prompts = trainer.draw()
        batch = trainer.verify(trainer.roll_out(prompts), prompts)
    counts, _ = trainer.count(batch)
    weights = {objective.name: 0.5 + 0.3 * k for k, objective in enumerate(trainer.objectives)}
    passes = trainer.passes(batch, counts, weights)
    sums, metrics, _ = trainer.update.forward_backward(passes, counts, weights)
    kinds = {ReinforcementPass: "reinforcement", SupervisedPass: "supervised", EmptyPass: "empty"}
    gradient = torch.cat([p.grad.flatten() for p in trainer.models.scorer.parameters()])
    trainer.models.optimizer.zero_grad()  # under data parallelism the gradients' memory, buckets, outlives them
    trainer.update.forward_backward(passes, counts, weights)
    return {
        "gradient": gradient,
        "again": torch.cat([p.grad.flatten() for p in trainer.models.scorer.parameters()]),
        "losses": mean_losses(sums, counts),
        "metrics": metrics,
        "completions": {
            prompt.example.id: rollout.completions[p * rollout.group_size : (p + 1) * rollout.group_size]
            for rollout in batch.rollouts
            for p, prompt in enumerate(rollout.prompts)
        },
        "domains": [prompt.domain.name for prompt in prompts.drawn],
        "passes": [kinds[type(item)] for item in passes],
        "rolled out": sum(len(rollout.prompts) for rollout in batch.rollouts),
        "trained on": sum(len(item.item.domain_index) for item in passes if isinstance(item, ReinforcementPass)),
    }


def on_processes(processes: int, accumulation: int, cases: Iterable[str], directory: Path) -> dict[str, list[Found]]:
    """The cases on CPU processes of one launch: case -> what each rank found."""
    bindings = {name: [*BASE, *CASES[name], f"train.accumulation_steps = {accumulation}"] for name in cases}
    (directory / "cases.json").write_text(json.dumps(bindings))
    done = torchrun(__file__, str(directory / "cases.json"), str(directory / "found"), processes=processes)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [torch.load(directory / f"found-{rank}", weights_only=False) for rank in range(processes)]
    return {name: [rank[name] for rank in ranks] for name in bindings}


def assert_same(case: str, ranks: list[Found], expected: Found) -> None:
    """One gradient on every rank, and it is the one expected; so are losses and what was sampled."""
    sampled = {key: texts for rank in ranks for key, texts in rank["completions"].items()}
    assert sampled == expected["completions"], case
    norm = expected["gradient"].norm()
    assert norm > 0, case
    for rank in ranks:
        for gradient in (rank["gradient"], rank["again"]):
            assert (gradient - expected["gradient"]).norm() < 1e-4 * norm, case
        torch.testing.assert_close(rank["losses"], expected["losses"], rtol=1e-4, atol=1e-6, msg=case)
        for name in ("loss", "entropy", "kl"):
            if name in expected["metrics"]:
                assert rank["metrics"][name] == pytest.approx(expected["metrics"][name], rel=1e-3, abs=1e-5), case


def test_two_processes_of_two_micro_batches_have_the_gradient_of_one_of_four(tmp_path: Path) -> None:
    """Two cases of the many below, with uneven groups, domains and pictures."""
    alone, together = on_processes(1, 4, QUICK, tmp_path), on_processes(2, 2, QUICK, tmp_path)
    for case in QUICK:
        assert_same(case, together[case], alone[case][0])
    # The cases are as uneven as they are meant to be; else they could become harmless unnoticed.
    (whole,), (first, second) = alone["token"], together["token"]
    assert 0 < whole["trained on"] < whole["rolled out"], "some groups are skipped, some are not"
    assert first["trained on"] != second["trained on"]
    first, second = together["a domain on one rank"]
    assert set(first["domains"]) != set(second["domains"])
    assert any("empty" in rank["passes"] for ranks in together.values() for rank in ranks)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_by_four_two_by_two_and_four_by_one(tmp_path: Path) -> None:
    """Every normalisation, place of the weights and mixture of objectives; processes x micro-batches."""
    alone = on_processes(1, 4, CASES, tmp_path)
    two, four = on_processes(2, 2, CASES, tmp_path), on_processes(4, 1, CASES, tmp_path)
    for case in CASES:
        assert_same(case, two[case], alone[case][0])
        assert_same(case, four[case], alone[case][0])
    for case in ("sequence", "token", "constant"):
        assert 0 < alone[case][0]["trained on"] < alone[case][0]["rolled out"]
    first, second = two["text and pictures apart"]
    assert {*first["domains"]} & {*second["domains"]} == set()
    assert all(rank["passes"][0] == "supervised" for rank in two["supervised only"])


def test_prompts_are_dealt_evenly_over_all_domains(small: Callable[..., LoadedConfig]) -> None:
    """Four domains with one odd prompt each: no rank gets them all; and no prompt is lost or dealt twice."""
    rates = "mixtures.weighted.rates = {'counting': 1, 'arithmetic': 1, 'grounding': 1, 'reading': 1}"

    def dealt(rank: int, processes: int) -> list[list[str]]:
        trainer = Trainer(small("train.prompts_per_step = 7", rates).experiment)
        intake = Intake(trainer.experiment, trainer.loaded, rank, processes)
        return [[f"{domain.name} {prompt.example.id}" for domain, prompt in intake(step).drawn] for step in range(4)]

    for whole, *shares in zip(dealt(0, 1), *(dealt(rank, 3) for rank in range(3)), strict=True):
        assert sorted(map(len, shares)) == [2, 2, 3]
        assert sorted(prompt for share in shares for prompt in share) == sorted(whole)


if __name__ == "__main__":
    cases: dict[str, list[str]] = json.loads(Path(sys.argv[1]).read_text())
    torch.save({name: gradient_of(bindings) for name, bindings in cases.items()}, f"{sys.argv[2]}-{os.environ['RANK']}")
