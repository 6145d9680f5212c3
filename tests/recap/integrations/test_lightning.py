"""The callback in the real Lightning, where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from recap.integrations.losses import weighted_sum
from registry.reweighting.base import ReweightingPolicy
from registry.reweighting.gradnorm import GradNorm
from registry.reweighting.recap import Recap

lightning = pytest.importorskip("lightning", reason='pip install "recap-rlvr[lightning]"')

from recap.integrations.lightning import Reweighting  # noqa: E402

DATA = [(torch.tensor([i / 10, 1.0]), torch.tensor([i % 3 / 3, i / 20])) for i in range(24)]


class Two(lightning.LightningModule):  # type: ignore[misc, name-defined]
    def __init__(self, policy: ReweightingPolicy) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.policy = nn.Linear(2, 2), policy
        self.values: list[dict[str, float]] = []
        self.used: list[dict[str, float]] = []

    def training_step(self, batch: list[Tensor], index: int) -> Any:
        difference = self.linear(batch[0]) - batch[1]
        losses = {"first": difference[:, 0].square().mean(), "second": difference[:, 1].abs().mean()}
        self.values.append({name: loss.item() for name, loss in losses.items()})
        self.used.append(self.policy.weights)
        return {"loss": weighted_sum(losses, self.policy, update=False), "losses": losses}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def policy() -> Recap:
    return Recap(["first", "second"], window=2, temperature=0.2)


def fit(folder: Path, steps: int, resume: Path | None = None, **settings: Any) -> tuple[Two, Any]:
    model = Two(policy())
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        callbacks=[Reweighting(model.policy)],
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    trainer.fit(model, DataLoader(DATA, batch_size=2), ckpt_path=resume)
    return model, trainer


@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_policy_sees_the_mean_of_every_optimizer_step(tmp_path: Path, accumulation: int) -> None:
    model, trainer = fit(tmp_path, 12, accumulate_grad_batches=accumulation)
    by_hand = policy()
    assert len(model.values) == 12 * accumulation
    for step in range(12):
        part = slice(step * accumulation, (step + 1) * accumulation)
        assert model.used[part] == [by_hand.weights] * accumulation
        values = model.values[part]
        last, by_hand_before = by_hand.weights, by_hand.diagnostics
        by_hand.update({name: sum(value[name] for value in values) / accumulation for name in ("first", "second")})
    assert model.policy.weights == by_hand.weights != {"first": 1.0, "second": 1.0}
    assert trainer.callback_metrics["weight/first"].item() == pytest.approx(last["first"])
    assert trainer.callback_metrics["convergence/first"].item() == pytest.approx(by_hand_before["convergence"]["first"])


def test_a_resumed_run_goes_on_with_the_history_of_the_first(tmp_path: Path) -> None:
    first, trainer = fit(tmp_path, 12)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    rest, _ = fit(tmp_path, 20, resume=tmp_path / "half.ckpt")
    by_hand = policy()
    for values, used in zip(first.values + rest.values, first.used + rest.used, strict=True):
        assert used == by_hand.weights
        by_hand.update(values)
    assert len(rest.values) == 8
    assert rest.policy.state_dict() == by_hand.state_dict()


def test_what_it_cannot_serve_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gradient norms"):
        Reweighting(GradNorm(["first"]))
    with pytest.raises(ValueError, match=r"'first' \(reward\)"):
        Reweighting(Recap({"first": "reward"}))
    with pytest.raises(ValueError, match="must return"):
        Reweighting(policy()).on_train_batch_end(None, None, {"loss": torch.tensor(1.0)}, None, 0)
