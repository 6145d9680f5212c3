"""The state of a run beside its model and optimizer: what a checkpoint holds of it, and what a broken step is undone by."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed
from torch import Tensor

from recap.learning.trainer import Trainer
from recap.runs.checkpoint import load_checkpoint, read_state, read_tensors
from recap.runs.malformed import load_source_states, source_states
from recap.runs.random_state import random_states, set_random_states
from recap.runs.scores import ScoreHistory


@dataclass(frozen=True)
class Snapshot:
    """What a step changes before the optimizer does: enough to write the checkpoint of the state before it."""

    step: int
    reweighting: dict[str, Any]
    signals: dict[str, Any]
    sources: Mapping[str, dict[str, Any]]
    gradients: dict[str, Tensor]
    random: dict[str, Any]


class RunState:
    """What a run remembers.

    Attributes:
        scores: of the capabilities, by step.
        skipped_in_a_row: steps whose update was not taken, up to now.
        unsaved: a line for each part that keeps a state and does not save it.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.scores = ScoreHistory()
        self.skipped_in_a_row = 0
        self.unsaved: list[str] = []

    def state_dict(self, alone: bool = False) -> dict[str, Any]:
        """What a checkpoint holds, as JSON has it.

        Args:
            alone: on the main process only: what the others have skipped of the sources is not in it.
        """
        trainer = self.trainer
        sources = trainer.prefetch.states()
        return {
            "skipped_in_a_row": self.skipped_in_a_row,
            "scores": self.scores.state_dict(),
            "policy": type(trainer.reweighting).__name__,
            "objectives": [objective.name for objective in trainer.objectives],
            "reweighting": trainer.reweighting.state_dict(),
            "signals": trainer.signals.state_dict(),
            "sources": dict(sources) if alone else source_states(sources, trainer.accelerator),
            "seed": trainer.experiment.seed,
            "gradient_method": trainer.experiment.gradient_method,
            "unsaved": self.unsaved,
        }

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds besides."""
        return self.trainer.update.aggregator.state_dict()

    def load(self, checkpoint: Path) -> list[str]:
        """Goes on from a checkpoint, with the settings of the experiment; returns what a person should know.

        Raises:
            ValueError: the checkpoint is of other domains or objectives, or cannot be trusted.
        """
        trainer, notices = self.trainer, [f"going on from {checkpoint}"]
        self._check_same(read_state(checkpoint), checkpoint)
        state = load_checkpoint(trainer.accelerator, checkpoint)
        trainer.models.samplers_are_stale = True
        trainer.step_number = state["step"]
        trainer.models.go_on_after(trainer.step_number)
        self.skipped_in_a_row = state["skipped_in_a_row"]
        self.scores.load_state_dict(state["scores"])
        trainer.prefetch.take_back()
        load_source_states(trainer.domains, state["sources"], trainer.accelerator)
        policy = type(trainer.reweighting).__name__
        if state.get("policy", policy) == policy:
            trainer.reweighting.load_state_dict(state["reweighting"])
            trainer.signals.load_state_dict(state.get("signals", {}))  # older checkpoints have none
        else:
            notices.append(f"the reweighting policy {policy} starts afresh, in the place of {state['policy']}")
        method = trainer.experiment.gradient_method
        if state.get("gradient_method", method) == method:
            trainer.update.aggregator.load_state_dict(read_tensors(checkpoint))
        if state.get("seed", trainer.experiment.seed) != trainer.experiment.seed:
            set_seed(trainer.experiment.seed)  # the random states just loaded are those of the other seed
        return [*notices, *(f"warning: {line}" for line in state.get("unsaved", ()))]

    def _check_same(self, state: Mapping[str, Any], checkpoint: Path) -> None:
        trainer = self.trainer
        for what, binding, before, now in (
            ("a domain", "train.domains", list(state["sources"]), [domain.name for domain in trainer.domains]),
            ("an objective", "the domains' objectives", state.get("objectives"), [o.name for o in trainer.objectives]),
        ):
            if before is None:
                continue
            for names, fault in ((Counter(now) - Counter(before), "new"), (Counter(before) - Counter(now), "gone")):
                if names:
                    raise ValueError(
                        f"{', '.join(names)}: {what} that is {fault}: {checkpoint} was written with"
                        f" {', '.join(before)}. What the run knows of each would no longer fit; leave {binding} as they were,"
                        " or start another run"
                    )

    def snapshot(self) -> Snapshot:
        """The state now, before a step: a few kilobytes, and what the sources remember, which the prefetch holds too."""
        trainer = self.trainer
        trainer.update.begun = False
        return Snapshot(
            trainer.step_number,
            copy.deepcopy(trainer.reweighting.state_dict()),
            copy.deepcopy(trainer.signals.state_dict()),
            trainer.prefetch.states(),
            trainer.update.aggregator.state_dict(),
            random_states(),
        )

    def rewind(self, before: Snapshot) -> None:
        """Undoes what a broken step did, as long as its update had not begun."""
        trainer = self.trainer
        trainer.step_number = before.step
        trainer.reweighting.load_state_dict(before.reweighting)
        trainer.signals.load_state_dict(before.signals)
        trainer.prefetch.load(before.sources)
        trainer.update.aggregator.load_state_dict(before.gradients)
        trainer.models.optimizer.zero_grad()
        set_random_states(before.random)
