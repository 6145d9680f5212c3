"""The evaluations of a run: capabilities measured, their outcomes kept, what became of the base model's logged."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from recap.evaluation.evaluate import evaluate
from recap.evaluation.held_out import held_out_of, overlap, shared_tables
from recap.evaluation.outcomes import Outcomes
from recap.evaluation.scores import CapabilityScore, score_of
from recap.learning.trainer import Trainer
from recap.parallel.local_work import local_work
from recap.runs.drift import DriftRecord, DriftResult
from recap.runs.forgotten_entry import EACH, MOST, forgotten_entry
from recap.runs.forgotten_table import FOLDER, forgotten_examples, forgotten_rows
from recap.runs.outcomes import OutcomeRecord, about_run
from recap.runs.scores import ScoreHistory, forgetting_metrics, sample_metrics, score_metrics
from recap.runs.spill import Entry
from recap.runs.tracking import Tracker

TRAINED_ON = 100_000  # examples of each domain that a run that starts looks at, if it has the time


class Evaluations:
    """Measures what a run's model can do.

    Args:
        trainer: whose model it is, and which step it is at.
        tracker: where metrics and outcomes go.
        directory: of the run.
        scores: of all evaluations so far, to which the next are added.
        name: of the run.
        configuration: gin's, as it took effect.
    """

    def __init__(
        self,
        trainer: Trainer,
        tracker: Tracker,
        directory: Path,
        scores: ScoreHistory,
        *,
        name: str,
        configuration: str,
    ) -> None:
        self.trainer = trainer
        self.tracker = tracker
        self.scores = scores
        about = about_run(trainer.experiment, name, trainer.loaded.description, configuration)
        self.outcomes = OutcomeRecord(directory, tracker, about)
        self.drift = DriftRecord(trainer, directory)

    def measure(self) -> list[str]:
        """Evaluates the model as it is, on all processes; returns lines for a person.

        A step has scores once all that was found is kept: what breaks before is measured again by the run that goes on.
        """
        trainer, step = self.trainer, self.trainer.step_number
        experiment, accelerator = trainer.experiment, trainer.accelerator
        trainer.models.ready_to_sample()
        outcomes = evaluate(
            trainer.loaded,
            experiment.capabilities,
            experiment.rewards,
            accelerator,
            experiment.rollout.generator,
            seed=experiment.seed,
            step=step,
        )
        drift = self.drift.measure()
        scores = {name: score_of(rows) for name, rows in outcomes.items()}
        with local_work(accelerator, at_once=False):
            if accelerator.is_main_process:
                self._record(step, scores, outcomes, drift)
        self.scores[step] = scores  # last, as a step that has scores is not measured again
        lines = [
            f"step {step}: " + "  ".join(f"{name} {score.score:.3f}" for name, score in scores.items()),
            *drift.lines,
        ]
        return lines if step else [*lines, *self._not_held_out(outcomes)]

    def inherit(self, other: Path, step: int) -> None:
        """Takes over what another run's directory has up to a step, for a run that begins there."""
        self.outcomes.inherit(other, step)
        self.drift.inherit(other)

    def _record(self, step: int, scores: dict[str, CapabilityScore], outcomes: Outcomes, drift: DriftResult) -> None:
        self.outcomes.keep(step, outcomes, {"drift": drift.as_json()})
        metrics = score_metrics(scores) | sample_metrics(outcomes) | drift.metrics
        if step:
            metrics |= forgetting_metrics(self.outcomes.base, outcomes, ScoreHistory({**self.scores, step: scores}))
            most = self.trainer.experiment.tracking.rollouts_per_table
            self.tracker.table(step, forgotten_rows(self.outcomes.base, outcomes, most), FOLDER)
            self.tracker.groups(self._forgotten(step, outcomes, min(most, EACH)))
        self.tracker.log(step, metrics)
        if step == 0:
            self.tracker.model(step, {"step": "0", "base_model": self.trainer.loaded.description}, [])

    def _forgotten(self, step: int, outcomes: Outcomes, most: int) -> list[Callable[[int], Entry]]:
        """What makes the traces of forgotten examples, a few of each capability."""
        capabilities = {capability.name: capability for capability in self.trainer.experiment.capabilities}
        found = forgotten_examples(self.outcomes.base, outcomes, most)[:MOST]
        return [
            partial(forgotten_entry, capabilities[one.capability], one, step, turn)
            for turn, one in enumerate(found)
            if one.capability in capabilities
        ]

    def _not_held_out(self, outcomes: Outcomes) -> list[str]:
        domains, capabilities = self.trainer.domains, self.trainer.experiment.capabilities
        found = overlap(domains, held_out_of(capabilities, outcomes), count=TRAINED_ON)
        return [f"note: {line}" for line in [*shared_tables(domains, capabilities), *found]]
