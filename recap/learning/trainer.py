"""One step of RECAP's Algorithm 1, on Accelerate.

draw -> roll out -> verify -> count -> (weights) -> advantages -> forward and backward of (1/K) Σ λ_k L_k -> optimizer ->
report signals -> reweight. What surrounds the steps (evaluations, checkpoints, logging) is in `recap/runs/run.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch import Tensor

from recap.data.objectives import StepCounts, mean_losses, weight_vector
from recap.experiment.experiment import Experiment
from recap.experiment.layout import check_layout, live_layout
from recap.learning.advantages import step_advantages
from recap.learning.batch import Batch as Batch  # part of what `step` returns
from recap.learning.batch import count, mean_rewards, rollout_metrics
from recap.learning.microbatch import (
    ReinforcementBatch,
    reinforcement_batch,
    supervised_batch,
)
from recap.learning.passes import (
    SAMPLER_STATISTICS,
    STATISTICS,
    EmptyPass,
    Pass,
    ReinforcementPass,
    StepWeights,
    SupervisedPass,
)
from recap.model.adapters import adapter_disabled
from recap.model.scoring import Scorer
from recap.optimization.gradients import GradientAggregator, objective_gradients, set_gradient
from recap.parallel.adapter_checkpoint import leave_frozen_out
from recap.parallel.replica import frozen_copy, refresh, replica_of
from recap.parallel.sharding import fsdp_plugin, is_sharded, ready_sharded
from recap.rewards.verification import PendingRewards, begin_verification
from recap.sampling.generators.sync import send_weights
from recap.sampling.rollout import Prompt, roll_out


@dataclass
class StepResult:
    """What a step did: its metrics over all processes, whether the model was updated, and this process's batch."""

    metrics: dict[str, float]
    updated: bool
    batch: Batch


class Trainer:
    """Trains the model of an experiment, a step at a time.

    Attributes:
        step_number: steps taken or skipped so far; a step is one batch of rollouts and `grpo.iterations` updates of the model.
        loaded: the model that samples, is evaluated and exported; `scorer` holds the same weights, wrapped by Accelerate.
            Where Accelerate shards those, `loaded` is a copy that `refresh` brings up to date.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.accelerator = Accelerator(
            mixed_precision=experiment.mixed_precision,
            # A step may hold no picture: then nothing reaches the vision tower on that process.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
            fsdp_plugin=fsdp_plugin(experiment.mixed_precision),
        )
        check_layout(experiment, live_layout(self.accelerator))
        set_seed(experiment.seed)
        self.step_number = 0
        self.domains = list(experiment.domains)
        self.objectives = experiment.objectives
        self.reweighting = experiment.build_reweighting()
        asked = self.reweighting.kl_coefficient
        self.kl_coefficient = experiment.grpo.kl_coefficient if asked is None else asked

        transformers.utils.logging.disable_progress_bar()  # there is one progress display, ours
        generator = experiment.rollout.generator
        self.generator_is_stale = generator is not None  # whether it lacks the last update
        if generator is not None:
            generator.check()
            generator.connect()
        self.loaded = experiment.load_model()
        if generator is not None:
            generator.start(self.loaded, self.accelerator)
        scorer = Scorer(self.loaded.model, self.loaded.forbidden_token_ids, experiment.scoring).train()
        self.sharded = is_sharded(self.accelerator)
        # Whole copies beside a sharded model are kept in the precision that it computes in.
        dtype = torch.bfloat16 if self.sharded and experiment.mixed_precision == "bf16" else None
        self.reference: Scorer | None = None  # under an adapter there is no need of a copy
        if self.kl_coefficient > 0 and experiment.adapter is None:
            self.reference = frozen_copy(scorer, self.accelerator.device, dtype)
        if self.sharded:
            self.loaded = replica_of(self.loaded, self.accelerator.device, dtype)
            if self.kl_coefficient > 0 and self.reference is None:
                # The copy's base, as a forward of the shards would need the other processes.
                self.reference = Scorer(self.loaded.model, self.loaded.forbidden_token_ids, experiment.scoring)
        optimizer, self.schedule = experiment.optimizer.build(scorer.parameters(), experiment.steps)
        self.scorer, self.optimizer = self.accelerator.prepare(scorer, optimizer)
        if self.sharded:
            ready_sharded(self.scorer, self.everywhere)
        self.accelerator.register_for_checkpointing(self.schedule)
        if experiment.adapter is not None:
            leave_frozen_out(self.accelerator)
        self.trained_parameters = [p for p in self.scorer.parameters() if p.requires_grad]
        self.aggregator = GradientAggregator(experiment.gradient_method)
        self.accelerator.register_for_checkpointing(self.aggregator)
        self.per_objective = bool(experiment.gradient_method) or self.reweighting.needs_gradient_norms

    def step(self) -> StepResult:
        """One step of Algorithm 1."""
        started = time.perf_counter()
        prompts = self.draw()
        pending = self.roll_out(prompts)
        sampled = time.perf_counter()
        batch = self.verify(pending, prompts)
        verified = time.perf_counter()
        counts, rewards = self.count(batch)
        if self.reweighting.same_step:
            self.reweight(self.signals(counts, self.measure_losses(batch, counts), rewards))
        weights = self.reweighting.weights
        losses, metrics, updated = self.optimize(self.passes(batch, counts, weights), counts, weights, rewards)
        batch.release()
        signals = self.signals(counts, losses, rewards)
        if updated and not self.reweighting.same_step:
            self.reweight(signals)
        self.step_number += 1

        metrics |= rollout_metrics(batch, self.accelerator.device, self.reduce)
        metrics |= {f"reward/{name}": value for name, value in rewards.items()}
        metrics |= {f"signal/{name}": value for name, value in signals.items()}
        metrics |= {f"weight/{name}": value for name, value in weights.items()}
        metrics["weight_spread"] = max(weights.values()) - min(weights.values())
        for quantity, values in self.reweighting.diagnostics.items():
            metrics |= {f"{quantity}/{name}": value for name, value in values.items()}
        finished = time.perf_counter()
        metrics |= {
            "step_seconds": finished - started,
            "rollout_seconds": sampled - started,
            "verify_seconds": verified - sampled,
            "update_seconds": finished - verified,
            "tokens_per_second": metrics["completion_tokens"] / (finished - started),
            "skipped": float(not updated),
        }
        return StepResult(metrics, updated, batch)

    def reduce(self, sums: Tensor) -> Tensor:
        """A sum over all processes."""
        total: Tensor = self.accelerator.reduce(sums)
        return total

    def everywhere(self, condition: bool) -> bool:
        """Whether something holds on all processes."""
        return not float(self.reduce(torch.tensor(float(not condition), device=self.accelerator.device)))

    def refresh(self) -> None:
        """Gives `loaded` the weights as they are now, on all processes together; nothing where it has the same ones."""
        if self.sharded:
            refresh(self.loaded.model, self.scorer)

    # --- the lines of a step

    def draw(self) -> list[Prompt]:
        """This process's share of the step's prompts, domains taking turns so that micro-batches are alike."""
        allocation = self.experiment.mixture.allocate(self.domains, self.experiment.prompts_per_step, self.step_number)
        rank, processes, dealt, shares = self.accelerator.process_index, self.accelerator.num_processes, 0, []
        for domain in self.domains:
            # A domain's first prompt goes to the rank after the one that got the last domain's last prompt: otherwise
            # the low ranks would get every domain's odd prompt.
            examples = domain.source.take(
                allocation[domain.name], (rank - dealt + domain.source.position) % processes, processes
            )
            dealt += allocation[domain.name]
            shares.append([Prompt(domain, example, domain.render(example)) for example in examples])
        longest = max(map(len, shares))
        return [share[turn] for turn in range(longest) for share in shares if turn < len(share)]

    def roll_out(self, prompts: Sequence[Prompt]) -> list[PendingRewards]:
        """Completions of the prompts that are trained by reinforcement; each micro-batch is judged while others are sampled."""
        sampling, pending = self.experiment.rollout, []
        self.refresh()
        self.sync_generator()
        self.loaded.model.eval()
        with self.accelerator.autocast():
            for micro_batch in self.micro_batches([prompt for prompt in prompts if prompt.domain.verifiers]):
                rollout = roll_out(
                    self.loaded,
                    micro_batch,
                    group_size=sampling.group_size,
                    max_new_tokens=sampling.max_new_tokens,
                    temperature=sampling.temperature,
                    device=self.accelerator.device,
                    seed=self.experiment.seed,
                    step=self.step_number,
                    shared_prefix=sampling.shared_prefix,
                    keep_prefix=self.keeps_prefix,
                    generator=sampling.generator,
                )
                pending.append(begin_verification(rollout, self.experiment.rewards))
        self.loaded.model.train()
        return pending

    @property
    def keeps_prefix(self) -> bool:
        """Whether prompts computed in the rollout serve the loss too.

        Not where the copy that samples is another than the one that is trained, nor with several micro-batches, whose
        purpose is that the activations of one are in memory at a time.
        """
        scorer: Scorer = self.accelerator.unwrap_model(self.scorer)
        return not self.sharded and self.experiment.accumulation_steps == 1 and scorer.wants_prefix

    def sync_generator(self) -> None:
        """Gives a generator of its own weights those of the last update, unless it has them."""
        generator = self.experiment.rollout.generator
        if generator is not None and self.generator_is_stale:
            send_weights(generator, self.loaded.model, self.accelerator)
            self.generator_is_stale = False

    def micro_batches(self, prompts: Sequence[Prompt]) -> list[list[Prompt]]:
        """Prompts dealt out in turn, so that domains are spread evenly."""
        parts = [
            list(prompts[i :: self.experiment.accumulation_steps]) for i in range(self.experiment.accumulation_steps)
        ]
        return [part for part in parts if part]

    def verify(self, pending: Sequence[PendingRewards], prompts: Sequence[Prompt]) -> Batch:
        """Rewards of every completion, and the targets of the supervised prompts."""
        layout = (self.domains, self.objectives, self.experiment.objective_scope, self.accelerator.device)
        imitated = self.micro_batches([prompt for prompt in prompts if prompt.domain.supervised])
        targets = [supervised_batch(self.loaded, micro_batch, *layout) for micro_batch in imitated]
        judged = [item.result(*layout) for item in pending]
        return Batch(
            [item.rollout for item in pending],
            [table for table, _ in judged],
            targets,
            [result for _, result in judged],
        )

    def count(self, batch: Batch) -> tuple[StepCounts, dict[str, float]]:
        """Over all processes: the counts of every (domain, objective), and the mean reward of every objective."""
        experiment = self.experiment
        zeros = torch.zeros(len(self.domains), len(self.objectives), device=self.accelerator.device)
        counts, rewards = count(batch, zeros, experiment.grpo, experiment.rollout.max_new_tokens, self.reduce)
        return counts, mean_rewards(counts, rewards, self.domains, self.objectives, experiment.objective_scope)

    def passes(self, batch: Batch, counts: StepCounts, weights: Mapping[str, float]) -> list[Pass]:
        """The forwards whose losses add up to (1/K) Σ λ_k L_k; equally many on every process."""
        step = StepWeights(weight_vector(weights, self.objectives, self.accelerator.device), counts)
        return self.evened([*self.reinforcement_passes(batch, step), *self.supervised_passes(batch, step)], step)

    def reinforcement_passes(self, batch: Batch, step: StepWeights) -> list[Pass]:
        """One per rollout, without the groups that have no gradient."""
        experiment, grpo = self.experiment, self.experiment.grpo
        advantages = step_advantages(
            batch.rewards,
            step.weights,
            num_domains=len(self.domains),
            scale=grpo.scale,
            act_on=experiment.weights_act_on,
            reduce=self.reduce,
        )
        found: list[Pass] = []
        reference = self.reference_log_probs if self.kl_coefficient else None
        settings = (self.scorer, grpo, experiment.rollout.temperature, self.kl_coefficient, reference)
        for rollout, table, own in zip(batch.rollouts, batch.rewards, advantages, strict=True):
            # A KL term gives every group a gradient.
            item = reinforcement_batch(self.loaded, rollout, table, own, grpo, skip=reference is None)
            if item is not None:
                found.append(ReinforcementPass(item, step, *settings))
        return found

    def supervised_passes(self, batch: Batch, step: StepWeights) -> list[Pass]:
        return [SupervisedPass(item, step, self.scorer) for item in batch.supervised]

    def evened(self, passes: list[Pass], step: StepWeights) -> list[Pass]:
        """The passes, and empty ones up to the number that the busiest process has."""
        own = torch.tensor([len(passes)], device=self.accelerator.device)
        missing = int(self.accelerator.gather(own).max()) - len(passes)
        return passes + [EmptyPass(self.loaded, step, self.scorer)] * missing

    @torch.no_grad()
    def reference_log_probs(self, item: ReinforcementBatch) -> Tensor:
        """Log-probs of completions under the reference model, a frozen copy or the adapter's base: [P * G, T]."""
        # Out of its wrapper, which counts forwards: a process may have more of these than another.
        scorer = self.reference or self.accelerator.unwrap_model(self.scorer)
        base = nullcontext() if self.experiment.adapter is None else adapter_disabled(self.loaded.model)
        with self.accelerator.autocast(), base:
            scores = scorer(
                item.encoded,
                item.completion_ids,
                item.completion_mask,
                temperature=self.experiment.rollout.temperature,
            )
        log_probs: Tensor = scores.log_probs
        return log_probs

    @torch.no_grad()
    def measure_losses(self, batch: Batch, counts: StepCounts) -> Tensor:
        """L_k of the objectives that report their loss, before any update: [K]; only for policies of the same step."""
        step = StepWeights(torch.ones(len(self.objectives), device=self.accelerator.device), counts)
        passes = self.supervised_passes(batch, step)
        kinds = self.reweighting.signal_kinds
        if any(kinds[objective.name] == "loss" and not objective.supervised for objective in self.objectives):
            passes += self.reinforcement_passes(batch, step)
        sums = torch.zeros_like(counts.units)
        for run_pass in self.evened(passes, step):
            sums += run_pass().parts.sums
        return mean_losses(self.reduce(sums), counts)

    def optimize(
        self, passes: Sequence[Pass], counts: StepCounts, weights: Mapping[str, float], rewards: Mapping[str, float]
    ) -> tuple[Tensor, dict[str, float], bool]:
        """The updates of a step; returns L_k, [K], and metrics of the first, and whether all were taken."""
        losses, metrics = self.forward_backward(passes, counts, weights)
        updated = self.update_model(losses, rewards, metrics)
        for _ in range(self.experiment.grpo.iterations - 1):
            if not updated:
                break
            later_losses, later = self.forward_backward(passes, counts, weights)
            updated = self.update_model(later_losses, rewards, later)
            metrics |= {name: later[name] for name in ("clipped", "gradient_norm") if name in later}
        self.schedule.step()
        return losses, metrics, updated

    def forward_backward(
        self, passes: Sequence[Pass], counts: StepCounts, weights: Mapping[str, float]
    ) -> tuple[Tensor, dict[str, float]]:
        """Accumulates the gradient of (1/K) Σ λ_k L_k; returns L_k, [K], and metrics, over all processes."""
        sums = torch.zeros_like(counts.units)
        statistics = torch.zeros(len(STATISTICS), device=self.accelerator.device)
        jacobian = torch.zeros(())
        for index, run_pass in enumerate(passes):
            # A sharded gradient is summed over processes at every pass: whole ones would have to be kept until the last.
            sums_now = self.sharded or (index == len(passes) - 1 and not self.per_objective)
            with nullcontext() if sums_now else self.accelerator.no_sync(self.scorer):
                result = run_pass()
                sums += result.parts.sums
                statistics += result.statistics
                if self.per_objective:
                    jacobian = jacobian + objective_gradients(result.parts.objectives, self.trained_parameters)
                else:
                    # Data-parallel wrappers average the gradients of the processes; ours are shares of a sum.
                    self.accelerator.backward(result.parts.loss * self.accelerator.num_processes)
        if self.per_objective:
            self.combine(self.reduce(jacobian), counts, weights)
        for parameter in self.scorer.parameters():
            # What nothing reached has gradient 0: which groups were skipped, and where, cannot matter to the optimizer.
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        losses = mean_losses(self.reduce(sums), counts)
        lam = weight_vector(weights, self.objectives, losses.device)
        metrics = {f"loss/{objective.name}": float(losses[k]) for k, objective in enumerate(self.objectives)}
        metrics["loss"] = float((lam * losses).mean())
        totals = dict(zip(STATISTICS, self.reduce(statistics).tolist(), strict=True))
        if totals["sequences"]:
            metrics["entropy"] = totals["entropy"] / totals["sequences"]
            if self.kl_coefficient:
                metrics["kl"] = totals["kl"] / totals["sequences"]
            if self.experiment.grpo.iterations > 1:
                metrics["clipped"] = totals["clipped"] / max(1, totals["tokens"])
            if self.experiment.rollout.generator is not None:
                metrics |= {name: totals[name] / max(1, totals["tokens"]) for name in SAMPLER_STATISTICS}
        return losses, metrics

    def combine(self, jacobian: Tensor, counts: StepCounts, weights: Mapping[str, float]) -> None:
        """One direction from the gradients of the objectives, [K, parameters]: by a gradient method, or their mean."""
        if self.reweighting.needs_gradient_norms:
            norms, present = jacobian.norm(dim=1).tolist(), counts.present.any(0).tolist()
            names = [objective.name for objective in self.objectives]
            self.reweighting.observe_gradient_norms(
                {name: norm for name, norm, there in zip(names, norms, present, strict=True) if there}
            )
        weighted = jacobian * weight_vector(weights, self.objectives, jacobian.device)[:, None]
        set_gradient(self.aggregator(weighted), self.trained_parameters)

    def update_model(self, losses: Tensor, rewards: Mapping[str, float], metrics: dict[str, float]) -> bool:
        """An optimizer step, unless a loss, a reward or the gradient is not finite; whether it was taken."""
        limit = self.experiment.optimizer.max_grad_norm
        norm = float(self.accelerator.clip_grad_norm_(self.scorer.parameters(), limit))
        metrics |= {"gradient_norm": norm, "learning_rate": float(self.schedule.get_last_lr()[0])}
        finite = bool(torch.isfinite(losses).all()) and all(map(math.isfinite, [norm, *rewards.values()]))
        if finite:
            self.optimizer.step()
            self.generator_is_stale = True
        self.optimizer.zero_grad()
        return finite

    def reweight(self, signals: Mapping[str, float]) -> None:
        """Reports the signals of a step; those of a broken one are left out as a whole."""
        if all(map(math.isfinite, signals.values())):
            self.reweighting.update(signals)

    def signals(self, counts: StepCounts, losses: Tensor, rewards: Mapping[str, float]) -> dict[str, float]:
        """What each objective present in this step reports to the reweighting policy."""
        signals = {}
        for k, objective in enumerate(self.objectives):
            if not counts.present[:, k].any():
                continue
            kind = self.reweighting.signal_kinds[objective.name]
            if kind == "loss":
                carried = int(counts.present[:, k].sum())  # mean over the domains that carry it
                signals[objective.name] = float(losses[k]) * counts.num_domains / carried
            else:
                mean = rewards[objective.name]
                signals[objective.name] = mean if kind == "reward" else 1 - mean
        return signals
