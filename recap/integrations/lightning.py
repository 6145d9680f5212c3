"""Several losses, reweighted, in Lightning.

>>> class Model(LightningModule):
...     def training_step(self, batch, index):
...         losses = {"segmentation": ..., "depth": ...}
...         return {"loss": weighted_sum(losses, self.policy, update=False), "losses": losses}
>>> Trainer(callbacks=[Reweighting(model.policy)]).fit(model, data)
"""

from __future__ import annotations

from typing import Any

from recap.integrations.losses import StepLosses, require_losses
from recap.integrations.policies import series
from registry.reweighting.base import ReweightingPolicy

try:
    from lightning.pytorch.callbacks import Callback
except ImportError as error:
    raise ImportError('recap.integrations.lightning needs Lightning: pip install "recap-rlvr[lightning]"') from error


class Reweighting(Callback):  # type: ignore[misc]
    """Updates a policy once per optimizer step, logs its weights and diagnostics, and keeps its state in checkpoints.

    `training_step` returns a dictionary with the ``losses`` by objective beside the ``loss``, which
    `recap.integrations.losses.weighted_sum` made of them with ``update=False``. The policy sees the mean over micro-batches
    and processes.

    Args:
        policy: the one that `training_step` uses.

    Raises:
        ValueError: a policy that expects rewards, asks for gradient norms, or weighs the step that it has just measured;
            at a step, a `training_step` that does not return the losses.
    """

    def __init__(self, policy: ReweightingPolicy) -> None:
        require_losses(policy)
        if policy.needs_gradient_norms or policy.same_step:
            raise ValueError(
                f"{type(policy).__name__} asks for gradient norms, or for the losses before they are weighted: call"
                " weighted_sum without `update=False` and without this callback"
            )
        self.policy = policy
        self._losses = StepLosses()
        self._steps = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._steps = trainer.global_step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not (isinstance(outputs, dict) and "losses" in outputs):
            raise ValueError("training_step must return {'loss': weighted_sum(losses, ...), 'losses': losses}")
        self._losses.add(outputs["losses"])
        if trainer.global_step == self._steps:  # gradients are still being accumulated
            return
        self._steps = trainer.global_step
        pl_module.log_dict(series(self.policy.weights, self.policy.diagnostics))  # those of the step that is over
        self._losses.report_to(self.policy)

    def state_dict(self) -> dict[str, Any]:
        return {"policy": self.policy.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.policy.load_state_dict(state_dict["policy"])
