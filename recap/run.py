"""A run: the steps of a trainer, with evaluations, checkpoints, an MLflow record and a way to stop."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch

from recap.checkpoint import latest_checkpoint, load_checkpoint
from recap.evaluation import CapabilityScore, evaluate
from recap.experiment import Experiment
from recap.interrupts import Interrupts
from recap.layout import live_layout, notes
from recap.progress import TrainingProgress
from recap.tracking import Tracker
from recap.trainer import Batch, StepResult, Trainer


class TrainingStopped(RuntimeError):
    """The run could not go on; a checkpoint was written."""


class Run:
    """Trains an experiment from start to end.

    Args:
        experiment: validated settings.
        directory: for checkpoints and the trained model.
        name: shown in MLflow.
        operative_config: the gin configuration as text, logged with the run.
        resume: a run directory or checkpoint to go on from, in the same MLflow run.
    """

    def __init__(
        self,
        experiment: Experiment,
        directory: Path,
        *,
        name: str = "run",
        operative_config: str = "",
        resume: Path | None = None,
    ) -> None:
        self.experiment = experiment
        self.directory = directory
        self.trainer = Trainer(experiment)
        self.accelerator = self.trainer.accelerator
        self.scores: dict[int, dict[str, CapabilityScore]] = {}
        self.skipped_in_a_row = 0
        run_id = None
        if resume is not None:
            run_id = self._restore(load_checkpoint(self.accelerator, latest_checkpoint(resume)))
        self.tracker = Tracker(experiment.tracking, name, run_id=run_id, enabled=self.accelerator.is_main_process)
        parameters = experiment.parameters() | {"model": self.trainer.loaded.description}
        self.tracker.describe(parameters, operative_config)

    def execute(self) -> dict[int, dict[str, CapabilityScore]]:
        """All steps; returns the capability scores by step.

        Raises:
            TrainingStopped: too many steps in a row were not finite.
            ValueError: a source or a process that has nothing to train on.
            KeyboardInterrupt: asked to stop; a checkpoint was written and the MLflow run closed as KILLED.
        """
        experiment, trainer, status = self.experiment, self.trainer, "FAILED"
        progress = TrainingProgress(
            experiment.steps, start=trainer.step_number, enabled=self.accelerator.is_local_main_process
        )
        interrupts = Interrupts()
        try:
            with interrupts, progress, experiment.rewards:
                self._announce(progress)
                if trainer.step_number == 0:
                    self._evaluate(progress)
                while trainer.step_number < experiment.steps:
                    result = trainer.step()
                    self._log(result)
                    progress.update(trainer.step_number, result.metrics)
                    self._stop_if_asked(interrupts, progress)
                    self._stop_if_hopeless(result)
                    if _due(experiment.checkpoints.every, trainer.step_number):
                        self.save_checkpoint()
                    if _due(experiment.evaluate_every, trainer.step_number) or trainer.step_number == experiment.steps:
                        self._evaluate(progress)
                self._report(progress)
                if experiment.checkpoints.save_model:
                    self.save_model()
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            self.tracker.finish(status)
        return self.scores

    def save_checkpoint(self) -> Path:
        return self.experiment.checkpoints.save(
            self.accelerator, self.directory, self.trainer.step_number, self._state()
        )

    def save_model(self) -> Path:
        """Writes the trained model as a directory that `from_pretrained` loads."""
        directory = self.directory / "model"
        self.trainer.refresh()
        if self.accelerator.is_main_process:
            directory.mkdir(parents=True, exist_ok=True)
            self.trainer.loaded.save_pretrained(directory)
        self.accelerator.wait_for_everyone()
        return directory

    def _state(self) -> dict[str, Any]:
        return {
            "run_id": self.tracker.run_id,
            "skipped_in_a_row": self.skipped_in_a_row,
            "reweighting": self.trainer.reweighting.state_dict(),
            "sources": {domain.name: domain.source.state_dict() for domain in self.trainer.domains},
        }

    def _restore(self, state: dict[str, Any]) -> str | None:
        self.trainer.step_number = state["step"]
        self.skipped_in_a_row = state["skipped_in_a_row"]
        self.trainer.reweighting.load_state_dict(state["reweighting"])
        for domain in self.trainer.domains:
            domain.source.load_state_dict(state["sources"][domain.name])
        run_id = state["run_id"]
        return None if run_id is None else str(run_id)

    def _evaluate(self, progress: TrainingProgress) -> None:
        if not self.experiment.capabilities:
            return
        trainer, step = self.trainer, self.trainer.step_number
        trainer.refresh()
        scores = evaluate(trainer.loaded, self.experiment.capabilities, self.experiment.rewards, self.accelerator)
        self.scores[step] = scores
        metrics: dict[str, float] = {}
        for name, score in scores.items():
            metrics |= {
                f"capability/{name}": score.score,
                f"capability_standard_error/{name}": score.standard_error,
                f"capability_formatted/{name}": score.formatted,
            }
        self.tracker.log(step, metrics)
        progress.say(f"step {step}: " + "  ".join(f"{name} {score.score:.3f}" for name, score in scores.items()))

    def _log(self, result: StepResult) -> None:
        step, tracking = self.trainer.step_number, self.experiment.tracking
        skipped = [float(domain.source.malformed.total()) for domain in self.trainer.domains]
        skipped = self.accelerator.reduce(torch.tensor(skipped, device=self.accelerator.device)).tolist()
        malformed = {
            f"malformed/{d.name}": count for d, count in zip(self.trainer.domains, skipped, strict=True) if count
        }
        self.tracker.log(step, result.metrics | malformed)
        if step == 1 or _due(tracking.rollouts_every, step) or step == self.experiment.steps:
            self.tracker.table(rollout_rows(result.batch, self.trainer, step)[: tracking.rollouts_per_table])

    def _stop_if_asked(self, interrupts: Interrupts, progress: TrainingProgress) -> None:
        # Every process must stop at the same step, whichever of them heard the signal.
        asked = torch.tensor(float(interrupts.requested), device=self.accelerator.device)
        if self.accelerator.reduce(asked) > 0:
            progress.say(f"interrupted: saved {self.save_checkpoint()}")
            raise KeyboardInterrupt

    def _stop_if_hopeless(self, result: StepResult) -> None:
        self.skipped_in_a_row = 0 if result.updated else self.skipped_in_a_row + 1
        limit = self.experiment.max_skipped_steps
        if self.skipped_in_a_row >= limit:
            bad = [name for name, value in result.metrics.items() if value != value or abs(value) == float("inf")]
            raise TrainingStopped(
                f"{limit} steps in a row were not finite (train.max_skipped_steps = {limit}); the last of them, step"
                f" {self.trainer.step_number}, in {', '.join(bad) or 'the gradient'}. The model is as it was before them:"
                f" {self.save_checkpoint()}"
            )

    def _announce(self, progress: TrainingProgress) -> None:
        experiment, accelerator = self.experiment, self.accelerator
        progress.say(
            f"{self.trainer.loaded.description} on {accelerator.num_processes} x {accelerator.device.type},"
            f" {experiment.steps} steps of {experiment.prompts_per_step} prompts x {experiment.rollout.group_size}"
            f" completions; MLflow {experiment.tracking.resolved_uri}, run {self.tracker.run_id}"
        )
        for note in notes(experiment, live_layout(accelerator)):
            progress.say(f"note: {note}")

    def _report(self, progress: TrainingProgress) -> None:
        """Says what was skipped on the way."""
        for domain in self.trainer.domains:
            malformed: Counter[str] = domain.source.malformed
            if malformed:
                shown = "; ".join(f"{reason} (x {count})" for reason, count in malformed.most_common(3))
                progress.say(f"{domain.name}: skipped {malformed.total()} malformed examples: {shown}")


def _due(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0


def rollout_rows(batch: Batch, trainer: Trainer, step: int) -> list[dict[str, Any]]:
    """One row per prompt of this process, its first completion, domains in turn."""
    rows = []
    for rollout, table in zip(batch.rollouts, batch.rewards, strict=True):
        for p, prompt in enumerate(rollout.prompts):
            rewards = {
                objective.name: round(float(table.rewards[p, 0, k]), 4)
                for k, objective in enumerate(trainer.objectives)
                if table.applies[p, 0, k]
            }
            rows.append(
                {
                    "step": step,
                    "domain": prompt.domain.name,
                    "example": prompt.example.id,
                    "prompt": prompt.text,
                    "completion": rollout.completions[p * rollout.group_size],
                    "reference": prompt.example.answer,
                    "rewards": str(rewards),
                }
            )
    return rows
