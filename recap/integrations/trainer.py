"""Several losses, reweighted, in Hugging Face's Trainer.

>>> class MyTrainer(ReweightedLosses, Trainer):
...     def compute_losses(self, model, inputs):
...         outputs = model(**inputs)
...         return {"answer": outputs.loss, "length": length_loss(outputs)}, outputs
>>> policy = reweighting_policies.build("recap", ["answer", "length"])
>>> MyTrainer(model=model, args=arguments, train_dataset=data, policy=policy).train()
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from recap.integrations.losses import StepLosses, combine, require_losses
from recap.integrations.policies import series
from recap.integrations.trainer_state import PolicyCallback
from registry.reweighting.base import ReweightingPolicy


class ReweightedLosses:
    """Mixin for `transformers.Trainer`, to stand before it: trains on (1/K) Σ λ_k L_k.

    The policy is updated once per optimizer step, by the mean of each loss over micro-batches and processes; its weights and
    diagnostics are logged beside the loss, and its state is part of every checkpoint. In evaluation every weight is 1, so
    that losses of different steps can be compared.

    Each loss is a mean over its micro-batch: Trainer divides by the number of accumulation steps.

    Args:
        policy: built with the names of the losses.

    Raises:
        ValueError: a policy that Trainer cannot serve: it expects rewards, asks for gradient norms, or weighs the step that
            it has just measured though that step has several micro-batches.
    """

    def __init__(self, *args: Any, policy: ReweightingPolicy, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        require_losses(policy)
        name = type(policy).__name__
        if policy.needs_gradient_norms:
            raise ValueError(
                f"{name} asks for gradient norms, which Trainer has none of: use weighted_sum in a loop of yours"
            )
        if policy.same_step and self.args.gradient_accumulation_steps > 1:  # type: ignore[attr-defined]
            raise ValueError(f"{name} weighs the step that it has just measured: gradient_accumulation_steps must be 1")
        self.policy = policy
        self.model_accepts_loss_kwargs = False  # or else Trainer would take the loss for one that it need not divide
        self._losses = StepLosses()
        self._weights = policy.weights  # of the step under way, for the log
        self._diagnostics = policy.diagnostics
        self.add_callback(_UpdatePolicy(self))  # type: ignore[attr-defined]

    def compute_losses(self, model: Any, inputs: Any) -> tuple[Mapping[str, Tensor], Any]:
        """The scalar losses of a micro-batch, by objective, and the model's outputs; to be written by you.

        An objective that is absent from the micro-batch is left out.
        """
        raise NotImplementedError("write compute_losses(self, model, inputs): return {objective: loss}, outputs")

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor | tuple[Tensor, Any]:
        """What Trainer asks for."""
        losses, outputs = self.compute_losses(model, inputs)
        self.policy.check_known(losses)
        if not model.training:
            loss = combine(losses, dict.fromkeys(self.policy.objectives, 1.0))
            return (loss, outputs) if return_outputs else loss
        self._losses.add(losses)
        if self.policy.same_step:
            self.update_policy()
        self._weights, self._diagnostics = self.policy.weights, self.policy.diagnostics
        loss = combine(losses, self._weights)
        return (loss, outputs) if return_outputs else loss

    def update_policy(self) -> None:
        """Tells the policy the mean losses since its last update."""
        if not self._losses.empty:
            self._losses.report_to(self.policy)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds the weights that acted on the step, and the policy's diagnostics, to what is logged of it."""
        if "loss" in logs:
            logs.update(series(self._weights, self._diagnostics))
        super().log(logs, *args, **kwargs)  # type: ignore[misc]


class _UpdatePolicy(PolicyCallback):
    def __init__(self, trainer: ReweightedLosses) -> None:
        super().__init__(trainer.policy)
        self.trainer = trainer

    def end_step(self) -> None:
        self.trainer.update_policy()
