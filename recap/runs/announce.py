"""The first lines of a run."""

from __future__ import annotations

from recap.experiment.layout import live_layout, notes
from recap.learning.trainer import Trainer


def first_lines(trainer: Trainer, run_id: str | None) -> list[str]:
    """What is trained, where and how long, where it is logged, and what works but perhaps not as meant."""
    experiment, accelerator = trainer.experiment, trainer.accelerator
    dtype = str(trainer.models.trained_parameters[0].dtype).removeprefix("torch.")
    return [
        f"{trainer.loaded.description} on {accelerator.num_processes} x {accelerator.device.type},"
        f" {experiment.steps} steps of {experiment.prompts_per_step} prompts x {experiment.rollout.group_size}"
        f" completions; MLflow {experiment.tracking.resolved_uri}, run {run_id}",
        *(f"note: {note}" for note in notes(experiment, live_layout(accelerator), dtype)),
    ]
