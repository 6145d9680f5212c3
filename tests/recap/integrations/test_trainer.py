"""The mixin in the real Trainer: its steps are those of a loop written by hand, and it survives a save and a resume."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments, set_seed

from recap.integrations.losses import weighted_sum
from recap.integrations.trainer import ReweightedLosses
from recap.integrations.trainer_state import KEY
from registry.reweighting.base import ReweightingPolicy
from registry.reweighting.gradnorm import GradNorm
from registry.reweighting.recap import Recap
from registry.reweighting.recap_released import RecapReleased

EXAMPLES = [{"x": torch.tensor([i / 10, 1.0]), "y": torch.tensor([i % 3 / 3, i / 20])} for i in range(24)]


class Two(nn.Module):
    """A linear model with two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        return {"logits": self.linear(x)}


def two_losses(outputs: Mapping[str, Tensor], y: Tensor) -> dict[str, Tensor]:
    difference = outputs["logits"] - y
    return {"first": difference[:, 0].square().mean(), "second": difference[:, 1].abs().mean()}


class MyTrainer(ReweightedLosses, Trainer):  # type: ignore[misc]
    seen: list[dict[str, Tensor]]

    def compute_losses(self, model: Any, inputs: Any) -> tuple[Mapping[str, Tensor], Any]:
        self.seen = [*getattr(self, "seen", []), inputs]
        outputs = model(**inputs)
        return two_losses(outputs, inputs["y"]), outputs


def policy() -> Recap:
    return Recap(["first", "second"], window=2, temperature=0.2)


def trainer(folder: Path, reweighting: ReweightingPolicy | None = None, **settings: Any) -> MyTrainer:
    set_seed(0)
    given: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": 12,
        "per_device_train_batch_size": 2,
        "learning_rate": 0.05,
        "lr_scheduler_type": "constant",
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "label_names": ["y"],
        **settings,
    }
    data = {"train_dataset": EXAMPLES, "eval_dataset": EXAMPLES[:4]}
    return MyTrainer(model=Two(), args=TrainingArguments(**given), policy=reweighting or policy(), **data)


def logged(made: MyTrainer) -> list[dict[str, float]]:
    return [line for line in made.state.log_history if "loss" in line]


@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_step_is_that_of_a_loop_by_hand(tmp_path: Path, accumulation: int) -> None:
    made = trainer(tmp_path, gradient_accumulation_steps=accumulation)
    by_hand, model = policy(), Two()
    model.load_state_dict(made.model.state_dict())
    made.train()
    seen = made.seen
    assert len(seen) == 12 * accumulation
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(12):
        micro_batches = seen[step * accumulation : (step + 1) * accumulation]
        lam, values = by_hand.weights, []
        for inputs in micro_batches:
            losses = two_losses(model(**inputs), inputs["y"])
            values.append({name: loss.item() for name, loss in losses.items()})
            (weighted_sum(losses, by_hand, update=False) / accumulation).backward()
        optimizer.step()
        optimizer.zero_grad()
        assert {name: logged(made)[step][f"weight/{name}"] for name in lam} == pytest.approx(lam, rel=1e-6)
        by_hand.update({name: sum(value[name] for value in values) / accumulation for name in lam})
    for ours, theirs in zip(model.parameters(), made.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    assert made.policy.weights == pytest.approx(by_hand.weights, rel=1e-5)
    assert abs(made.policy.weights["first"] - 1) > 0.01, "weights that never moved show nothing"
    assert "convergence/first" in logged(made)[-1]


def test_a_resumed_run_has_the_weights_of_one_left_alone(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.train()
    first = trainer(tmp_path / "parts", save_strategy="steps", save_steps=5, max_steps=5)
    first.train()
    second = trainer(tmp_path / "parts")
    second.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-5"))
    expected = [{k: v for k, v in line.items() if "/" in k or k == "loss"} for line in logged(whole)]
    found = [{k: v for k, v in line.items() if "/" in k or k == "loss"} for line in logged(second)]
    assert found == expected
    assert second.policy.state_dict() == whole.policy.state_dict()


def test_a_checkpoint_of_another_policy_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, save_strategy="steps", save_steps=5, max_steps=5).train()
    other = trainer(tmp_path, Recap(["first", "second"], window=3))
    with pytest.raises(ValueError, match="window 2"):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))


def test_a_checkpoint_without_a_policy_starts_it_anew_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer(tmp_path, save_strategy="steps", save_steps=5, max_steps=5).train()
    file = tmp_path / "checkpoint-5" / "trainer_state.json"
    state = json.loads(file.read_text())
    del state["stateful_callbacks"][KEY]
    file.write_text(json.dumps(state))
    trainer(tmp_path, max_steps=6).train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert "starts anew" in caplog.text


def test_evaluation_weighs_every_loss_1_and_leaves_the_policy_alone(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    made.train()
    before = made.policy.state_dict()
    metrics = made.evaluate()
    assert made.policy.state_dict() == before
    model = made.model.eval()
    y = torch.stack([example["y"] for example in EXAMPLES[:4]])
    losses = two_losses(model(torch.stack([example["x"] for example in EXAMPLES[:4]])), y)
    assert metrics["eval_loss"] == pytest.approx((losses["first"] + losses["second"]).item() / 2, rel=1e-5)


def test_policies_that_trainer_cannot_serve_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gradient norms"):
        trainer(tmp_path, GradNorm(["first", "second"]))
    with pytest.raises(ValueError, match=r"'first' \(reward\)"):
        trainer(tmp_path, Recap({"first": "reward", "second": "loss"}))
    with pytest.raises(ValueError, match="gradient_accumulation_steps must be 1"):
        trainer(tmp_path, RecapReleased(["first", "second"]), gradient_accumulation_steps=2)


def test_a_policy_of_the_same_step_weighs_what_it_has_just_measured(tmp_path: Path) -> None:
    made = trainer(tmp_path, RecapReleased(["first", "second"], temperature=0.1))
    made.train()
    last = logged(made)[-1]
    assert {name: last[f"weight/{name}"] for name in ("first", "second")} == made.policy.weights
