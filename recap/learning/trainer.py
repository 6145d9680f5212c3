"""One step of RECAP's Algorithm 1, on Accelerate.

draw -> roll out -> verify -> count -> (weights) -> advantages -> forward and backward of (1/K) Σ λ_k L_k -> optimizer ->
report signals -> reweight. What surrounds the steps (evaluations, checkpoints, logging) is in `recap/runs/run.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch import Tensor

from recap.experiment.experiment import Experiment, kl_domains
from recap.experiment.layout import check_layout, live_layout
from recap.experiment.prepare import open_sources
from recap.learning.advantages import step_advantages
from recap.learning.batch import Batch as Batch  # part of what `step` returns
from recap.learning.batch import count, mean_rewards, rollout_metrics
from recap.learning.intake import Intake, StepPrompts, micro_batch_size
from recap.learning.loss import StepCounts, weight_vector
from recap.learning.microbatch import reinforcement_batches, supervised_batch
from recap.learning.models import Models
from recap.learning.passes import EmptyPass, Pass, ReinforcementPass, StepWeights, SupervisedPass, kl_coefficients
from recap.learning.phases import Phases, timed
from recap.learning.prefetch import Prefetch, reader_of
from recap.learning.shares import share_metrics
from recap.learning.signals import Signals
from recap.learning.update import Update, UpdateResult
from recap.parallel.local_work import local_work
from recap.parallel.machines import on_each_machine_first
from recap.parallel.processes import join_processes, total
from recap.parallel.sharding import fsdp_plugin
from recap.rewards.verification import PendingRewards, begin_verification
from recap.sampling.rollout import roll_out


@dataclass
class StepResult:
    """What a step did: its metrics over all processes, whether the model was updated, this process's batch, and its λ."""

    metrics: dict[str, float]
    updated: bool
    batch: Batch
    weights: Mapping[str, float]


def accelerator_of(experiment: Experiment) -> Accelerator:
    """The processes of this launch, for an experiment.

    Raises:
        ValueError: it cannot be trained on them.
    """
    join_processes(experiment.collective_timeout_s)
    accelerator = Accelerator(
        mixed_precision=experiment.mixed_precision,
        # A step may hold no picture: then nothing reaches the vision tower on that process. Gradients live in the
        # buckets that are summed over processes, not beside them: 4 bytes per trained parameter less.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, gradient_as_bucket_view=True)],
        fsdp_plugin=fsdp_plugin(experiment.mixed_precision),
    )
    check_layout(experiment, live_layout(accelerator))
    return accelerator


class Trainer:
    """Trains the model of an experiment, a step at a time.

    Attributes:
        step_number: steps taken or skipped so far; a step is one batch of rollouts and `grpo.iterations` updates of the model.
        opened: the sources, as they were found.
        signals: of the objectives, for the reweighting policy.
        models: the model that is trained, and those beside it.
        loaded: the model that samples, is evaluated and exported.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.accelerator = accelerator_of(experiment)
        # Before minutes of loading a model, and before anybody waits for a process that downloads.
        self.opened = on_each_machine_first(self.accelerator, lambda: open_sources(experiment))
        set_seed(experiment.seed)
        self.step_number = 0
        self.phases = Phases()
        self.domains = list(experiment.domains)
        self.objectives = experiment.objectives
        self.reweighting = experiment.build_reweighting()
        self.signals = Signals(self.domains, self.objectives, self.reweighting.signal_kinds)
        self.models = Models(experiment, self.accelerator)
        self.loaded = self.models.loaded
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        self.intake = Intake(experiment, reader_of(self.loaded), rank, processes)
        self.intake.check()
        self.prefetch = Prefetch(self.intake, experiment.over)
        self.update = Update(experiment, self.models, self.reweighting, self.accelerator)

    def step(self) -> StepResult:
        """One step of Algorithm 1."""
        self.phases = Phases()
        prompts = self.draw()
        self.get_ready()
        with self.prefetch.of(self.step_number + 1, self.phases):
            pending = self.roll_out(prompts)
            batch = self.verify(pending, prompts)
            counts, sums = self.count(batch)
            rewards = mean_rewards(counts, sums, self.domains, self.objectives, self.experiment.objective_scope)
            if self.reweighting.same_step:
                self.reweight(self.signals(counts, self.measure_losses(batch, counts), sums))
            weights = self.reweighting.weights
            update = self.update(self.passes(batch, counts, weights), counts, weights, rewards)
            signals = self.signals(counts, update.loss_sums, sums)
            if update.taken and not self.reweighting.same_step:
                self.reweight(signals)
        self.step_number += 1
        return self.result(batch, update, rewards, signals, weights)

    # --- the lines of a step

    @timed("rollout")
    def draw(self) -> StepPrompts:
        """This process's share of the step's prompts, encoded; without those that the model cannot read."""
        with local_work(self.accelerator):
            return self.prefetch(self.step_number)

    @timed("rollout")
    def get_ready(self) -> None:
        """Gives whoever samples the weights as they are now; may ask the sources for their first prompts."""
        self.models.ready_to_sample()

    @timed("rollout")
    def roll_out(self, prompts: StepPrompts) -> list[PendingRewards]:
        """Completions of the prompts that are trained by reinforcement; each part is judged while the next is sampled."""
        sampling, pending = self.experiment.rollout, []
        self.models.ready_to_sample()
        self.loaded.model.eval()
        with local_work(self.accelerator), self.accelerator.autocast():
            for part in prompts.reinforced:
                domains, asked = zip(*part.drawn, strict=True)
                rollout = roll_out(
                    self.loaded,
                    asked,
                    encoded=part.prompts,
                    group_size=sampling.group_size,
                    max_new_tokens=sampling.max_new_tokens,
                    temperature=sampling.temperature,
                    device=self.accelerator.device,
                    seed=self.experiment.seed,
                    step=self.step_number,
                    shared_prefix=sampling.shared_prefix,
                    keep_prefix=self.models.keeps_prefix,
                    generator=sampling.generator,
                )
                pending.append(begin_verification(rollout, domains, self.experiment.rewards))
        self.loaded.model.train()
        return pending

    @timed("verify")
    def verify(self, pending: Sequence[PendingRewards], prompts: StepPrompts) -> Batch:
        """Rewards of every completion, and the targets of the supervised prompts."""
        device = self.accelerator.device
        layout = (self.domains, self.objectives, self.experiment.objective_scope)
        with local_work(self.accelerator):
            targets = [supervised_batch(part, *layout, self.loaded.pad_token_id, device) for part in prompts.imitated]
            judged = [item.result(*layout, device) for item in pending]
        return Batch(
            [item.rollout for item in pending],
            [table for table, _ in judged],
            targets,
            [result for _, result in judged],
            prompts.cut,
        )

    def count(self, batch: Batch) -> tuple[StepCounts, Tensor]:
        """Over all processes: the counts of every (domain, objective), and the sums of their rewards, [N, K]."""
        experiment = self.experiment
        zeros = torch.zeros(len(self.domains), len(self.objectives), device=self.accelerator.device)
        return count(batch, zeros, experiment.grpo, experiment.rollout.max_new_tokens, self.reduce)

    def passes(self, batch: Batch, counts: StepCounts, weights: Mapping[str, float]) -> list[Pass]:
        """The forwards whose losses add up to (1/K) Σ λ_k L_k; equally many on every process."""
        step = StepWeights(weight_vector(weights, self.objectives, self.accelerator.device), counts)
        return self.evened([*self.reinforcement_passes(batch, step), *self.supervised_passes(batch, step)], step)

    def reinforcement_passes(self, batch: Batch, step: StepWeights) -> list[Pass]:
        """One per micro-batch, without the groups that have no gradient."""
        experiment, grpo = self.experiment, self.experiment.grpo
        batch.advantages = step_advantages(
            batch.rewards,
            step.weights,
            num_domains=len(self.domains),
            scale=grpo.scale,
            act_on=experiment.weights_act_on,
            reduce=self.reduce,
        )
        found: list[Pass] = []
        reference = self.models.reference_log_probs if experiment.kl_coefficient else None
        beta = kl_coefficients(experiment.kl_coefficient, kl_domains(experiment), self.accelerator.device)
        settings = (self.models.scorer, grpo, experiment.rollout.temperature, beta, reference)
        size = micro_batch_size(sum(len(rollout.prompts) for rollout in batch.rollouts), experiment.accumulation_steps)
        most = experiment.scoring.max_tokens
        skip = reference is None  # a KL term gives every group a gradient
        for rollout, table, own in zip(batch.rollouts, batch.rewards, batch.advantages, strict=True):
            items = reinforcement_batches(self.loaded, rollout, table, own, grpo, size=size, skip=skip, max_tokens=most)
            found += [ReinforcementPass(item, step, *settings) for item in items]
        return found

    def supervised_passes(self, batch: Batch, step: StepWeights) -> list[Pass]:
        return [SupervisedPass(item, step, self.models.scorer) for item in batch.supervised]

    def evened(self, passes: list[Pass], step: StepWeights) -> list[Pass]:
        """The passes, and empty ones up to the number that the busiest process has."""
        own = torch.tensor([len(passes)], device=self.accelerator.device)
        missing = int(self.accelerator.gather(own).max()) - len(passes)
        return passes + [EmptyPass(self.loaded, step, self.models.scorer)] * missing

    @torch.no_grad()
    def measure_losses(self, batch: Batch, counts: StepCounts) -> Tensor:
        """Sums of the losses of objectives that report them, before any update: [N, K]; for policies of the same step."""
        step = StepWeights(torch.ones(len(self.objectives), device=self.accelerator.device), counts)
        passes = self.supervised_passes(batch, step)
        kinds = self.reweighting.signal_kinds
        if any(kinds[objective.name] == "loss" and not objective.supervised for objective in self.objectives):
            passes += self.reinforcement_passes(batch, step)
        sums = torch.zeros_like(counts.units)
        for run_pass in self.evened(passes, step):
            sums += run_pass().parts.sums
        return self.reduce(sums)

    def reweight(self, signals: Mapping[str, float]) -> None:
        """Reports the signals of a step; those of a broken one are left out as a whole."""
        if all(map(math.isfinite, signals.values())):
            self.reweighting.update(signals)

    def result(
        self,
        batch: Batch,
        update: UpdateResult,
        rewards: Mapping[str, float],
        signals: Mapping[str, float],
        weights: Mapping[str, float],
    ) -> StepResult:
        """The metrics of a step; `weights` are those that it was taken with, diagnostics those after it."""
        batch.release()
        where = (self.accelerator.device, self.reduce)
        metrics = update.metrics | rollout_metrics(batch, *where)
        metrics |= share_metrics(batch, self.domains, self.objectives, *where)
        metrics["weight_spread"] = max(weights.values()) - min(weights.values())
        quantities = {"reward": rewards, "signal": signals, "weight": weights, **self.reweighting.diagnostics}
        for quantity, values in quantities.items():
            metrics |= {f"{quantity}/{name}": value for name, value in values.items()}
        metrics |= self.phases.metrics(metrics["completion_tokens"])
        metrics["skipped"] = float(not update.taken)
        return StepResult(metrics, update.taken, batch, weights)

    def reduce(self, sums: Tensor) -> Tensor:
        """A sum over all processes."""
        return total(self.accelerator, sums)
