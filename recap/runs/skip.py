"""Passes over a step: its prompts are left out, and everything after it is as it would have been."""

from __future__ import annotations

from recap.data.endings import next_step
from recap.learning.trainer import Trainer


def pass_over(trainer: Trainer) -> None:
    """Moves every source on by what the step would have drawn, without reading it; nothing is learnt."""
    experiment = trainer.experiment
    trainer.prefetch.take_back()
    drawn = next_step(trainer.domains, experiment.mixture, experiment.prompts_per_step, trainer.step_number)
    assert drawn is not None, "a run that is over has no step to pass over"
    for domain in trainer.domains:
        domain.source.position += drawn[domain.name]
    trainer.step_number += 1
    trainer.models.go_on_after(trainer.step_number)
