"""`Keeper`: what a run keeps, so that it can go on: its record, its checkpoints, and the state before a step that breaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from accelerate.utils import broadcast_object_list

from recap.experiment.config import Command
from recap.learning.trainer import Trainer
from recap.parallel.local_work import FailedTogether, Interrupted
from recap.runs.checkpoint import CheckpointError, clean_up, latest_checkpoint, list_checkpoints, save_checkpoint
from recap.runs.last_word import say_failed
from recap.runs.progress import TrainingProgress
from recap.runs.resumption import Resumption, finished_line
from recap.runs.run_directory import RunRecord, former_config, note_step
from recap.runs.run_page import run_page
from recap.runs.state import RunState, Snapshot
from recap.runs.tracking import Tracker
from recap.runs.unsaved_state import UnsavedState


class Keeper:
    """Writes and reads what a run leaves in its directory.

    Attributes:
        state: of the run, beside its model and optimizer.
        record: how to start the run again.
        notices: said when the run starts.
    """

    def __init__(self, trainer: Trainer, directory: Path, tracker: Tracker) -> None:
        self.trainer, self.directory, self.tracker = trainer, directory, tracker
        self.experiment, self.accelerator = trainer.experiment, trainer.accelerator
        self.state = RunState(trainer)
        self.notices: list[str] = []
        self._unsaved: UnsavedState | None = UnsavedState(self.experiment, trainer.reweighting, trainer.domains)
        self._said = True
        shared = [tracker.run_id]
        broadcast_object_list(shared)
        self.run_id = shared[0]
        self.record = RunRecord(self.run_id, None)
        trainer.prefetch.passes_over = lambda step: step in self.passed_over
        if self.accelerator.is_main_process:
            trainer.prefetch.watch = self._note

    @property
    def passed_over(self) -> tuple[int, ...]:
        """Steps, from 1, that are left out."""
        return self.record.passed_over

    def begin(
        self, found: Resumption | None, config: str, command: Command | None, changed: Sequence[str], skip: bool
    ) -> None:
        """A new run, the same run again, or a fork of one.

        Args:
            changed: lines of the configuration that differ from those of the same run so far.
            skip: whether to pass over the step that was broken off.
        """
        passed_over = [found.step_to_skip] if found is not None and skip else []
        self.notices += [f"step {step} will be passed over" for step in passed_over]
        if found is None or found.fork:
            if found is not None:
                self._fork(found)
            earlier = found.record.passed_over if found is not None and found.record is not None else ()
            origin = None if found is None else found.origin
            self.record = RunRecord(self.run_id, command, forked_from=origin, passed_over=(*earlier, *passed_over))
            if self.accelerator.is_main_process:
                self.record.write(self.directory, config)
                self.tracker.describe(
                    run_page(self.experiment, self.trainer.loaded.description, config, command, self.directory)
                )
                self.tracker.tag(found.tags if found is not None else {})
            return
        assert found.record is not None
        self._go_on(found)
        self.notices += [f"changed: {line}" for line in changed]
        self.record = found.record.changed(command, passed_over)
        if self.accelerator.is_main_process:
            if changed:
                self.tracker.changed(self.trainer.step_number, changed, former_config(self.directory), config)
            self.record.rewrite(self.directory, config)

    def _go_on(self, found: Resumption) -> None:
        if self.accelerator.is_main_process:
            clean_up(self.directory)
        self.accelerator.wait_for_everyone()
        checkpoint = latest_checkpoint(found.start)
        if checkpoint is None:
            self.notices.append(f"no checkpoint in {self.directory} yet: starting over")
            return
        self.notices += self.state.load(checkpoint)
        self._show(checkpoint)  # a process that was killed may not have come to it
        if self.experiment.over(self.trainer.step_number):
            self.notices.append(finished_line(self.directory, self.trainer.step_number, self.experiment.steps))

    def _fork(self, found: Resumption) -> None:
        checkpoint = latest_checkpoint(found.start)
        assert checkpoint is not None
        self.notices += self.state.load(checkpoint)
        self.notices.append(f"a run of its own, in {self.directory}, forked from {found.run} at step {found.step}")
        self.save_checkpoint()  # its own: the one that it began at may be pruned

    def save_checkpoint(self, alone: bool = False) -> Path:
        """Writes a checkpoint of the state now.

        Args:
            alone: on the main process only, as the others may be gone.

        Raises:
            CheckpointError: it could not be written; the earlier ones are still there.
        """
        self._look_for_unsaved_state()
        self.tracker.flush()  # what a checkpoint is past is not logged again
        step = self.trainer.step_number
        saved = save_checkpoint(
            self.accelerator,
            self.directory,
            step,
            self.state.state_dict(alone),
            self.state.scores.mean(step),
            keep=self.experiment.checkpoints.keep,
            tensors=self.state.tensors(),
            alone=alone,
        )
        self._show(saved)
        return saved

    def _show(self, checkpoint: Path) -> None:
        """Logs a checkpoint as a model, with what it can do."""
        kept = [int(one.name.removeprefix("checkpoint-")) for one in list_checkpoints(self.directory)]
        params = {"base_model": self.trainer.loaded.description, "path": str(checkpoint.resolve())}
        step = self.trainer.step_number
        self.tracker.model(step, {"step": str(step), **params}, kept)

    def saved(self) -> str:
        """Writes a checkpoint; what came of it, for a person."""
        try:
            return f"saved {self.save_checkpoint()}"
        except CheckpointError as error:
            return f"{error}; the newest checkpoint is {latest_checkpoint(self.directory) or 'none'}"

    def save(self, progress: TrainingProgress) -> None:
        """Writes a checkpoint; where it cannot, says so, and the run goes on."""
        try:
            self.save_checkpoint()
        except CheckpointError as error:
            newest = latest_checkpoint(self.directory)
            progress.say(f"warning: {error}; the run goes on, its newest checkpoint is {newest or 'none'}")
            self.tracker.tag({"recap.checkpoint_failed_at_step": str(self.trainer.step_number)})
        progress.say(*self._unsaid())

    def finished(self) -> None:
        """Notes that nothing is left to do."""
        if self.accelerator.is_main_process:
            self.record.done().rewrite(self.directory, "")

    def _note(self, step: int) -> None:
        note_step(self.directory, step)

    @contextmanager
    def rescue(self, progress: TrainingProgress, step: int | None = None) -> Iterator[None]:
        """Around a step, or an evaluation: if it breaks, a checkpoint of the state before it is written.

        Args:
            step: its number, from 1, by which `--skip-step` knows it should it kill the process.
        """
        if step is not None and self.accelerator.is_main_process:
            self._note(step)
        before = self.state.snapshot()
        try:
            yield
        except (Exception, Interrupted) as error:
            progress.say(self._rescue(before, error), *self._unsaid())
            if isinstance(error, FailedTogether) and error.__cause__ is not None:
                raise error.__cause__ from None
            raise

    def _rescue(self, before: Snapshot, error: BaseException) -> str:
        """What came of it, for a person."""
        word = "interrupted" if isinstance(error, Interrupted) else "the step failed"
        newest = f"the newest checkpoint is {latest_checkpoint(self.directory) or 'none'}"
        alone = self.accelerator.num_processes > 1 and not isinstance(error, FailedTogether | Interrupted)
        if alone and not self.accelerator.is_main_process:
            say_failed(self.experiment.tracking, self.run_id)
            return f"{word}; {newest}"
        if self.trainer.update.begun:
            return f"{word} when the update of the model had begun; {newest}"
        if alone and self.trainer.models.sharded:
            return f"{word} on some of the processes, which together hold the model; {newest}"
        try:
            self.state.rewind(before)
            return f"{word}: saved {self.save_checkpoint(alone)}, the state before it"
        except Exception as failure:
            return f"{word}, and no checkpoint could be written ({failure}); {newest}"

    def _look_for_unsaved_state(self) -> None:
        """Once, at the first checkpoint, on the process that writes it."""
        if self._unsaved is not None and self.accelerator.is_main_process:
            self.state.unsaved = self._unsaved.found()
            self._said = not self.state.unsaved
            if self.state.unsaved:
                self.tracker.tag({"recap.unsaved_state": "; ".join(self.state.unsaved)})
        self._unsaved = None

    def _unsaid(self) -> list[str]:
        """What was found of it and not said yet."""
        lines = [] if self._said else [f"warning: {line}" for line in self.state.unsaved]
        self._said = True
        return lines
