"""A run: the steps of a trainer, with evaluations, checkpoints, an MLflow record and a way to stop."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch

from recap.data.endings import early_end
from recap.evaluation.scores import CapabilityScore
from recap.experiment.config import Command
from recap.experiment.experiment import Experiment
from recap.learning.trainer import StepResult, Trainer
from recap.model.ways import metrics, tags, ways_taken
from recap.parallel.processes import is_main_process
from recap.runs.announce import first_lines, last_lines
from recap.runs.evaluations import Evaluations
from recap.runs.export import export_run
from recap.runs.group_entry import group_entry
from recap.runs.interrupts import Interrupts
from recap.runs.keeper import Keeper
from recap.runs.malformed import malformed_lines, malformed_metrics
from recap.runs.progress import TrainingProgress
from recap.runs.quiet import silence
from recap.runs.resumption import find_resumption
from recap.runs.rollout_table import rollout_rows
from recap.runs.run_directory import changes, free_run_directory, inherit_weights, note_weights
from recap.runs.sampled_groups import SampledGroup, sampled_groups
from recap.runs.skip import pass_over
from recap.runs.system_metrics import of_this_machine
from recap.runs.tracking import Tracker, status_of


class TrainingStopped(RuntimeError):
    """The run could not go on; a checkpoint was written."""


class Run:
    """Trains an experiment from start to end.

    Args:
        experiment: validated settings.
        directory: for checkpoints and the trained model of a new run or a fork; of a run that goes on it is not asked for.
        name: shown in MLflow.
        operative_config: the gin configuration as text, logged with the run.
        command: what loaded the experiment; kept in the directory, so that `--resume` needs nothing else.
        resume: the run directory, or the checkpoint, to go on from: in the same MLflow run, unless it is an older checkpoint
            (see `recap.runs.resumption`); a run that was killed before its first checkpoint starts over.
        fork: whether a run of its own is to begin there.
        skip_step: whether the step that was broken off is passed over.

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
        fork: bool = False,
        skip_step: bool = False,
    ) -> None:
        silence()
        self.experiment = experiment
        found = None if resume is None else find_resumption(resume, fork)
        same_run = found if found is not None and not found.fork else None
        self.directory = directory if same_run is None else same_run.run
        changed = [] if same_run is None else changes(self.directory, operative_config)
        if same_run is None:
            free_run_directory(directory)
        self.tracker = Tracker(  # before the model is loaded: what is wrong with MLflow is said now, or never
            experiment.tracking,
            name,
            self.directory,
            run_id=same_run.record.mlflow_run_id if same_run and same_run.record else None,
            step=same_run.step if same_run else 0,
            same=not changed,
            enabled=is_main_process(),
        )
        try:
            with Interrupts(at_once=True):
                self.trainer = Trainer(experiment)
                self.accelerator = self.trainer.accelerator
                self.keeper = Keeper(self.trainer, self.directory, self.tracker)
                self.keeper.begin(found, operative_config, command, changed, skip_step)
        except BaseException as error:
            self.tracker.finish(status_of(error))
            raise
        slow = [str(opened) for opened in self.trainer.opened if opened.seconds > 1]
        self.scores, self.notices = self.keeper.state.scores, [*slow, *self.keeper.notices]
        where = (self.trainer, self.tracker, self.directory)
        self.evaluations = Evaluations(*where, self.scores, name=name, configuration=operative_config)
        if found is not None and found.fork:
            self.evaluations.inherit(found.run, found.step)
            if self.accelerator.is_main_process:
                inherit_weights(self.directory, found.run, found.step)
        self._ways_said = False

    def execute(self) -> dict[int, dict[str, CapabilityScore]]:
        """All steps; returns the capability scores by step.

        Raises:
            TrainingStopped: too many steps in a row were not finite.
            ValueError: a source or a process that has nothing to train on.
            KeyboardInterrupt: asked to stop; a checkpoint was written and the MLflow run closed as KILLED.
        """
        experiment, trainer, keeper, status = self.experiment, self.trainer, self.keeper, "FINISHED"
        progress = TrainingProgress(
            experiment.steps, start=trainer.step_number, enabled=self.accelerator.is_local_main_process
        )
        interrupts = Interrupts()
        system = of_this_machine(self.tracker, keeper.run_id, self.accelerator)
        try:
            with interrupts, progress, experiment.rewards, system or nullcontext():
                progress.say(*first_lines(trainer, self.tracker.run_id), *self.notices)
                if self._evaluate_if_due(progress):
                    keeper.save(progress)
                while not experiment.over(trainer.step_number):
                    self._step(progress)
                    self._stop_if_asked(interrupts, progress)
                    best = self._evaluate_if_due(progress)
                    last = experiment.over(trainer.step_number)  # kept, so that the run can be given more steps
                    if best or last or _due(experiment.checkpoints.every, trainer.step_number):
                        keeper.save(progress)
                progress.say(*early_end(trainer.step_number, experiment.steps))
                progress.say(*malformed_lines(trainer.domains, self.accelerator))
                progress.say(*malformed_lines(experiment.capabilities, self.accelerator, "capability "))
                if experiment.checkpoints.save_model:
                    self.save_model()
                keeper.finished()
        except BaseException as error:
            status = status_of(error)
            raise
        finally:
            progress.say(*self.tracker.finish(status), *last_lines(self.directory, is_main_process()))
        return self.scores

    def save_checkpoint(self) -> Path:
        return self.keeper.save_checkpoint()

    def save_model(self) -> None:
        """Writes the trained model as a directory that `from_pretrained` loads, and an adapter also by itself."""
        self.trainer.models.refresh()
        export_run(self.experiment, self.trainer.loaded, self.directory, self.accelerator)

    def _step(self, progress: TrainingProgress) -> None:
        """The next step, or its leaving out."""
        if self.trainer.step_number + 1 in self.keeper.passed_over:
            pass_over(self.trainer)
            self.tracker.log(self.trainer.step_number, {"skipped": 1.0})
            progress.say(f"step {self.trainer.step_number}: passed over")
            return
        with self.keeper.rescue(progress, step=self.trainer.step_number + 1):
            result = self.trainer.step()
        self._log(result)
        progress.update(self.trainer.step_number, result.metrics, self.tracker.news())
        self._stop_if_hopeless(result)

    def _evaluate_if_due(self, progress: TrainingProgress) -> bool:
        """Before the first step, on schedule and after the last one; a run that stopped before it could does so now.

        Returns: whether the model, after at least one step, has its best mean score so far.
        """
        experiment, step = self.experiment, self.trainer.step_number
        if step in self.scores or not (step == 0 or experiment.over(step) or _due(experiment.evaluate_every, step)):
            return False
        with self.keeper.rescue(progress):
            if experiment.capabilities:
                progress.say(*self.evaluations.measure())
        return self.scores.is_best(step)

    def _log(self, result: StepResult) -> None:
        step, tracking = self.trainer.step_number, self.experiment.tracking
        malformed = malformed_metrics(self.trainer.domains, self.accelerator)
        if self.accelerator.is_main_process:
            note_weights(self.directory, step, result.weights)
        self.tracker.log(step, result.metrics | malformed | self._ways(step))
        due = step == 1 or _due(tracking.rollouts_every, step) or self.experiment.over(step)
        if due and self.tracker.enabled:
            domains, objectives, most = self.trainer.domains, self.trainer.objectives, tracking.rollouts_per_table
            self.tracker.table(step, rollout_rows(result.batch, domains, objectives, step, most))
            self.tracker.groups([partial(group_entry, group) for group in self._sample(result)])

    def _sample(self, result: StepResult) -> list[SampledGroup]:
        """The groups of a step that are logged whole; of this process."""
        trainer, most = self.trainer, self.experiment.tracking.rollouts_per_table
        weights = {
            name.removeprefix("weight/"): value for name, value in result.metrics.items() if name.startswith("weight/")
        }
        step = trainer.step_number
        return sampled_groups(result.batch, trainer.domains, trainer.objectives, weights, step=step, completions=most)

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
            progress.say(f"interrupted: {self.keeper.saved()}")
            raise KeyboardInterrupt

    def _stop_if_hopeless(self, result: StepResult) -> None:
        state, limit = self.keeper.state, self.experiment.max_skipped_steps
        state.skipped_in_a_row = 0 if result.updated else state.skipped_in_a_row + 1
        if state.skipped_in_a_row >= limit:
            bad = [name for name, value in result.metrics.items() if value != value or abs(value) == float("inf")]
            raise TrainingStopped(
                f"{limit} steps in a row were not finite (train.max_skipped_steps = {limit}); the last of them, step"
                f" {self.trainer.step_number}, in {', '.join(bad) or 'the gradient'}. The model is as it was before them:"
                f" {self.keeper.saved()}"
            )


def _due(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0
