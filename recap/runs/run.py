"""A run: the steps of a trainer, with evaluations, checkpoints, an MLflow record and a way to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from recap.evaluation.scores import CapabilityScore
from recap.experiment.config import Command
from recap.experiment.describe import settings
from recap.experiment.experiment import Experiment
from recap.experiment.layout import live_layout, notes
from recap.learning.trainer import StepResult, Trainer
from recap.model.ways import metrics, tags, ways_taken
from recap.parallel.processes import is_main_process
from recap.runs.checkpoint import clean_up, latest_checkpoint, latest_step, load_checkpoint, save_checkpoint
from recap.runs.evaluations import Evaluations
from recap.runs.export import export_run
from recap.runs.interrupts import Interrupts
from recap.runs.malformed import malformed_lines, malformed_metrics
from recap.runs.progress import TrainingProgress
from recap.runs.rollout_table import rollout_rows
from recap.runs.run_directory import RunRecord, changes, read_record, run_directory
from recap.runs.scores import ScoreHistory
from recap.runs.tracking import Tracker, status_of


class TrainingStopped(RuntimeError):
    """The run could not go on; a checkpoint was written."""


class Run:
    """Trains an experiment from start to end.

    Args:
        experiment: validated settings.
        directory: for checkpoints and the trained model; of the run to go on with, where `resume` is true.
        name: shown in MLflow.
        operative_config: the gin configuration as text, logged with the run.
        command: what loaded the experiment; kept in the directory, so that `--resume` needs nothing else.
        resume: the run directory, or the checkpoint, to go on from, in the same MLflow run; a run that was killed before its
            first checkpoint starts over.

    Raises:
        ValueError: there is no such run.
    """

    def __init__(
        self,
        experiment: Experiment,
        directory: Path,
        *,
        name: str = "run",
        operative_config: str = "",
        command: Command | None = None,
        resume: Path | None = None,
    ) -> None:
        self.experiment = experiment
        self.directory = run_directory(resume) if resume else directory
        record = read_record(self.directory) if resume else None
        self.tracker = Tracker(  # before the model is loaded: what is wrong with MLflow is said now, or never
            experiment.tracking,
            name,
            self.directory,
            run_id=record.mlflow_run_id if record else None,
            step=latest_step(resume) if resume else 0,
            enabled=is_main_process(),
        )
        try:
            self._prepare(resume, record, operative_config, command, name)
        except BaseException as error:
            self.tracker.finish(status_of(error))
            raise

    def _prepare(
        self, resume: Path | None, record: RunRecord | None, config: str, command: Command | None, name: str
    ) -> None:
        """Loads the model and what the run goes on from."""
        self.trainer = Trainer(self.experiment)
        self.accelerator = self.trainer.accelerator
        self.scores = ScoreHistory()
        where = (self.trainer, self.tracker, self.directory)
        self.evaluations = Evaluations(*where, self.scores, name=name, configuration=config)
        self.skipped_in_a_row = 0
        self._ways_said = False
        self.notices: list[str] = []  # said when the run starts
        if resume is not None:
            self._restore(resume, config)
        if record is None and self.accelerator.is_main_process:
            RunRecord(self.tracker.run_id, command).write(self.directory, config)
            parameters = settings(self.experiment) | {"model": self.trainer.loaded.description}
            self.tracker.describe(parameters, config)

    def execute(self) -> dict[int, dict[str, CapabilityScore]]:
        """All steps; returns the capability scores by step.

        Raises:
            TrainingStopped: too many steps in a row were not finite.
            ValueError: a source or a process that has nothing to train on.
            KeyboardInterrupt: asked to stop; a checkpoint was written and the MLflow run closed as KILLED.
        """
        experiment, trainer, status = self.experiment, self.trainer, "FINISHED"
        progress = TrainingProgress(
            experiment.steps, start=trainer.step_number, enabled=self.accelerator.is_local_main_process
        )
        interrupts = Interrupts()
        try:
            with interrupts, progress, experiment.rewards:
                self._announce(progress)
                if self._evaluate_if_due(progress):
                    self.save_checkpoint()
                while trainer.step_number < experiment.steps:
                    result = trainer.step()
                    self._log(result)
                    progress.update(trainer.step_number, result.metrics, self.tracker.news())
                    self._stop_if_hopeless(result)
                    self._stop_if_asked(interrupts, progress)
                    if self._evaluate_if_due(progress) or _due(experiment.checkpoints.every, trainer.step_number):
                        self.save_checkpoint()
                progress.say(*malformed_lines(trainer.domains))
                if experiment.checkpoints.save_model:
                    self.save_model()
        except BaseException as error:
            status = status_of(error)
            raise
        finally:
            progress.say(*self.tracker.finish(status))
        return self.scores

    def save_checkpoint(self) -> Path:
        self.tracker.flush()  # what a checkpoint is past is not logged again
        step = self.trainer.step_number
        keep = self.experiment.checkpoints.keep
        return save_checkpoint(self.accelerator, self.directory, step, self._state(), self.scores.mean(step), keep=keep)

    def save_model(self) -> None:
        """Writes the trained model as a directory that `from_pretrained` loads, and an adapter also by itself."""
        self.trainer.models.refresh()
        export_run(self.experiment, self.trainer.loaded, self.directory, self.accelerator)

    def _state(self) -> dict[str, Any]:
        return {
            "skipped_in_a_row": self.skipped_in_a_row,
            "scores": self.scores.state_dict(),
            "reweighting": self.trainer.reweighting.state_dict(),
            "sources": {domain.name: domain.source.state_dict() for domain in self.trainer.domains},
        }

    def _restore(self, resume: Path, operative_config: str) -> None:
        if self.accelerator.is_main_process:
            clean_up(self.directory)
        self.accelerator.wait_for_everyone()
        self.notices += [f"not as the run was started: {line}" for line in changes(self.directory, operative_config)]
        checkpoint = latest_checkpoint(resume)
        if checkpoint is None:
            self.notices.append(f"no checkpoint in {self.directory} yet: starting over")
            return
        state = load_checkpoint(self.accelerator, checkpoint)
        self.notices.append(f"going on from {checkpoint}")
        self.trainer.step_number = state["step"]
        self.skipped_in_a_row = state["skipped_in_a_row"]
        self.scores.load_state_dict(state["scores"])
        self.trainer.reweighting.load_state_dict(state["reweighting"])
        for domain in self.trainer.domains:
            domain.source.load_state_dict(state["sources"][domain.name])

    def _evaluate_if_due(self, progress: TrainingProgress) -> bool:
        """Before the first step, on schedule and after the last one; a run that stopped before it could does so now.

        Returns: whether the model, after at least one step, has its best mean score so far.
        """
        experiment, step = self.experiment, self.trainer.step_number
        if step in self.scores or not (step in (0, experiment.steps) or _due(experiment.evaluate_every, step)):
            return False
        if experiment.capabilities:
            progress.say(*self.evaluations.measure())
        return self.scores.is_best(step)

    def _log(self, result: StepResult) -> None:
        step, tracking = self.trainer.step_number, self.experiment.tracking
        malformed = malformed_metrics(self.trainer.domains, self.accelerator)
        self.tracker.log(step, result.metrics | malformed | self._ways(step))
        if step == 1 or _due(tracking.rollouts_every, step) or step == self.experiment.steps:
            rows = rollout_rows(result.batch, self.trainer.domains, self.trainer.objectives, step)
            self.tracker.table(step, rows[: tracking.rollouts_per_table])

    def _ways(self, step: int) -> dict[str, float]:
        """Tags the run with the ways that this process was settled for at their first use; their metrics, of the first step."""
        if self._ways_said:
            return {}
        self._ways_said = True
        scorer = self.accelerator.unwrap_model(self.trainer.models.scorer)
        taken = ways_taken(self.trainer.loaded.model, scorer)
        self.tracker.tag(tags(taken))
        return metrics(taken) if step == 1 else {}

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
        dtype = str(self.trainer.models.trained_parameters[0].dtype).removeprefix("torch.")
        found = notes(experiment, live_layout(accelerator), dtype)
        progress.say(*(f"note: {note}" for note in found), *self.notices)


def _due(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0
