"""A reweighting policy in the checkpoints of Hugging Face's Trainer."""

from __future__ import annotations

import logging
from typing import Any

from transformers import TrainerCallback

from recap.integrations.policies import pack, unpack
from registry.reweighting.base import ReweightingPolicy

logger = logging.getLogger(__name__)

KEY = "recap.reweighting"
"""Of the policy's state among `TrainerState.stateful_callbacks`: in trainer_state.json it is written with everything else of a
checkpoint. (Trainer's own way, `ExportableState`, restores only if asked to, and only callbacks that it can build itself.)"""


class PolicyCallback(TrainerCallback):  # type: ignore[misc]
    """Updates a policy at the end of every optimizer step, before Trainer logs and saves; keeps and restores its state.

    Args:
        policy: the policy.
    """

    def __init__(self, policy: ReweightingPolicy) -> None:
        self.policy = policy

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Restores the policy where training is resumed.

        Raises:
            ValueError: the checkpoint holds the state of another policy or of other objectives.
        """
        packed = state.stateful_callbacks.get(KEY)
        if packed is not None:
            unpack(self.policy, packed)
        elif state.global_step > 0:
            logger.warning("the checkpoint holds no state of a reweighting policy, which therefore starts anew")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.end_step()
        state.stateful_callbacks[KEY] = pack(self.policy)

    def end_step(self) -> None:
        """Updates the policy by what the optimizer step measured."""
        raise NotImplementedError
