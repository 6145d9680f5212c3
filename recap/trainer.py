"""One step of RECAP's Algorithm 1, on Accelerate.

draw -> roll out -> verify -> advantages -> one forward and backward of (1/K) Σ λ_k L_k -> optimizer -> report signals ->
reweight. What surrounds the steps (evaluations, checkpoints, logging) is in `recap/run.py`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch import Tensor

from recap.experiment import Experiment
from recap.microbatch import RewardTable, SupervisedBatch, reward_tables, supervised_batch
from recap.objectives import StepCounts, mean_losses, reinforcement_loss, supervised_loss, weight_vector
from recap.rewards import ScoreResult
from recap.rollout import Prompt, Rollout, roll_out
from recap.scoring import Scorer


@dataclass
class Batch:
    """This process's share of one step: rollouts with their rewards, and supervised examples, by micro-batch."""

    rollouts: list[Rollout]
    rewards: list[RewardTable]
    supervised: list[SupervisedBatch]
    verified: ScoreResult


@dataclass
class StepResult:
    """What a step did: its metrics over all processes, whether the model was updated, and this process's batch."""

    metrics: dict[str, float]
    updated: bool
    batch: Batch


Pass = Callable[[], tuple[Tensor, Tensor, Tensor]]
"""One forward: its loss, its sums per (domain, objective), and [entropy, KL, truncated, sequences, tokens] summed."""


class Trainer:
    """Trains the model of an experiment, a step at a time.

    Attributes:
        step_number: optimizer steps taken or skipped so far.
        loaded: the model that samples and is evaluated; `scorer` holds the same weights, wrapped by Accelerate.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.accelerator = Accelerator(
            mixed_precision=experiment.mixed_precision,
            # A step may hold no picture: then nothing reaches the vision tower on that process.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        set_seed(experiment.seed)
        self.step_number = 0
        self.domains = list(experiment.domains)
        self.objectives = experiment.objectives
        self.reweighting = experiment.build_reweighting()
        asked = self.reweighting.kl_coefficient
        self.kl_coefficient = experiment.grpo.kl_coefficient if asked is None else asked

        transformers.utils.logging.disable_progress_bar()  # there is one progress display, ours
        self.loaded = experiment.model.load()
        scorer = Scorer(self.loaded.model, self.loaded.forbidden_token_ids).train()
        self.reference: Scorer | None = None
        if self.kl_coefficient > 0:
            self.reference = copy.deepcopy(scorer).eval().requires_grad_(False).to(self.accelerator.device)
        optimizer, self.schedule = experiment.optimizer.build(scorer.parameters(), experiment.steps)
        self.scorer, self.optimizer = self.accelerator.prepare(scorer, optimizer)
        self.accelerator.register_for_checkpointing(self.schedule)

    def step(self) -> StepResult:
        """One step of Algorithm 1."""
        started = time.perf_counter()
        prompts = self.draw()
        rollouts = self.roll_out(prompts)
        sampled = time.perf_counter()
        batch = self.verify(rollouts, prompts)
        verified = time.perf_counter()
        counts, rewards = self.count(batch)
        weights = self.reweighting.weights
        losses, metrics = self.forward_backward(batch, counts, weights)
        updated = self.update_model(losses, rewards, metrics)
        signals = self.signals(counts, losses, rewards)
        if updated:
            self.reweighting.update(signals)
        self.step_number += 1

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

    # --- the lines of a step

    def draw(self) -> list[Prompt]:
        """This process's share of the step's prompts, domains taking turns so that micro-batches are alike."""
        allocation = self.experiment.mixture.allocate(self.domains, self.experiment.prompts_per_step, self.step_number)
        shares = []
        for domain in self.domains:
            examples = domain.source.take(
                allocation[domain.name], self.accelerator.process_index, self.accelerator.num_processes
            )
            shares.append([Prompt(domain, example, domain.render(example)) for example in examples])
        longest = max(map(len, shares))
        return [share[turn] for turn in range(longest) for share in shares if turn < len(share)]

    def roll_out(self, prompts: Sequence[Prompt]) -> list[Rollout]:
        """Completions of the prompts that are trained by reinforcement, by micro-batch."""
        sampling = self.experiment.rollout
        self.loaded.model.eval()
        with self.accelerator.autocast():
            rollouts = [
                roll_out(
                    self.loaded,
                    micro_batch,
                    group_size=sampling.group_size,
                    max_new_tokens=sampling.max_new_tokens,
                    temperature=sampling.temperature,
                    device=self.accelerator.device,
                    seed=self.experiment.seed,
                    step=self.step_number,
                )
                for micro_batch in self.micro_batches([prompt for prompt in prompts if prompt.domain.verifiers])
            ]
        self.loaded.model.train()
        return rollouts

    def micro_batches(self, prompts: Sequence[Prompt]) -> list[list[Prompt]]:
        """Prompts dealt out in turn, so that domains are spread evenly."""
        parts = [
            list(prompts[i :: self.experiment.accumulation_steps]) for i in range(self.experiment.accumulation_steps)
        ]
        return [part for part in parts if part]

    def verify(self, rollouts: list[Rollout], prompts: Sequence[Prompt]) -> Batch:
        """Rewards of every completion, and the targets of the supervised prompts."""
        layout = (self.domains, self.objectives, self.experiment.objective_scope, self.accelerator.device)
        imitated = self.micro_batches([prompt for prompt in prompts if prompt.domain.supervised])
        tables, verified = reward_tables(rollouts, self.experiment.rewards, *layout)
        targets = [supervised_batch(self.loaded, micro_batch, *layout) for micro_batch in imitated]
        return Batch(rollouts, tables, targets, verified)

    def count(self, batch: Batch) -> tuple[StepCounts, dict[str, float]]:
        """Over all processes: the units of every (domain, objective), and the mean reward of every objective."""
        shape = (len(self.domains), len(self.objectives))
        units = torch.zeros(shape, device=self.accelerator.device)
        rewards = torch.zeros_like(units)
        for table in batch.rewards:
            applies = table.applies.float()
            units.index_add_(0, table.domain_index, applies.sum(1))
            rewards.index_add_(0, table.domain_index, torch.where(table.applies, table.rewards, 0.0).sum(1))
        for imitated in batch.supervised:
            units.index_add_(0, imitated.domain_index, imitated.applies * imitated.mask.sum(1, keepdim=True))
        units, rewards = self.accelerator.reduce(units), self.accelerator.reduce(rewards)
        means = {}
        for k, objective in enumerate(self.objectives):
            if not objective.supervised and units[:, k].sum() > 0:
                means[objective.name] = float(rewards[:, k].sum() / units[:, k].sum())
                for n, domain in enumerate(self.domains):
                    if self.experiment.objective_scope == "shared" and units[n, k] > 0:
                        means[f"{domain.name}/{objective.name}"] = float(rewards[n, k] / units[n, k])
        return StepCounts(units), means

    def forward_backward(
        self, batch: Batch, counts: StepCounts, weights: Mapping[str, float]
    ) -> tuple[Tensor, dict[str, float]]:
        """Accumulates the gradient of (1/K) Σ λ_k L_k; returns L_k, [K], and metrics, over all processes.

        Raises:
            ValueError: this process has nothing to train on.
        """
        lam = weight_vector(weights, self.objectives, self.accelerator.device)
        sums = torch.zeros_like(counts.units)
        failures = (batch.verified.faults.total(), batch.verified.timeouts.total())
        totals = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, *failures], device=self.accelerator.device)
        passes: list[Pass] = [
            *(
                partial(self._reinforcement_pass, *pair, lam, counts)
                for pair in zip(batch.rollouts, batch.rewards, strict=True)
            ),
            *(partial(self._supervised_pass, item, lam, counts) for item in batch.supervised),
        ]
        if not passes:
            raise ValueError(
                f"process {self.accelerator.process_index} has no example in step {self.step_number}:"
                " raise train.prompts_per_step, or look at the malformed examples"
            )
        for index, run_pass in enumerate(passes):
            is_last = index == len(passes) - 1
            with nullcontext() if is_last else self.accelerator.no_sync(self.scorer):
                loss, part, statistics = run_pass()
                sums += part
                totals[:5] += statistics
                # Data-parallel wrappers average the gradients of the processes; ours are shares of a sum.
                self.accelerator.backward(loss * self.accelerator.num_processes)
        losses = mean_losses(self.accelerator.reduce(sums), counts)
        entropy, kl, truncated, sequences, tokens, faults, timeouts = self.accelerator.reduce(totals).tolist()
        metrics = {f"loss/{objective.name}": float(losses[k]) for k, objective in enumerate(self.objectives)}
        metrics |= {"loss": float((lam * losses).mean()), "completion_tokens": tokens}
        if sequences:
            metrics |= {"entropy": entropy / sequences, "truncated": truncated / sequences}
            metrics |= {"verifier_faults": faults, "verifier_timeouts": timeouts}
            if self.reference is not None:
                metrics["kl"] = kl / sequences
        return losses, metrics

    def _reinforcement_pass(
        self, rollout: Rollout, table: RewardTable, lam: Tensor, counts: StepCounts
    ) -> tuple[Tensor, Tensor, Tensor]:
        experiment = self.experiment
        mask = rollout.completion_mask
        temperature = experiment.rollout.temperature
        arguments = (rollout.encoded, rollout.completion_ids, mask)
        scores = self.scorer(*arguments, temperature=temperature)
        reference = None
        if self.reference is not None:
            with torch.no_grad(), self.accelerator.autocast():
                reference = self.reference(*arguments, temperature=temperature).log_probs
        loss, part, kl = reinforcement_loss(
            experiment.grpo,
            log_probs=scores.log_probs,
            old_log_probs=scores.log_probs.detach(),  # one update per rollout: the model that sampled is this one
            reference_log_probs=reference,
            mask=mask,
            rewards=table.rewards,
            applies=table.applies,
            domain_index=table.domain_index,
            weights=lam,
            counts=counts,
            act_on=experiment.weights_act_on,
            kl_coefficient=self.kl_coefficient,
        )
        entropy = (scores.entropy * mask).sum(1) / mask.sum(1).clamp(min=1)
        statistics = [entropy.sum(), kl.sum(), rollout.truncated.sum(), kl.new_tensor(len(kl)), mask.sum()]
        return loss, part, torch.stack([value.float() for value in statistics])

    def _supervised_pass(self, item: SupervisedBatch, lam: Tensor, counts: StepCounts) -> tuple[Tensor, Tensor, Tensor]:
        scores = self.scorer(item.encoded, item.target_ids, item.mask)
        loss, part = supervised_loss(
            log_probs=scores.log_probs,
            mask=item.mask,
            applies=item.applies,
            domain_index=item.domain_index,
            weights=lam,
            counts=counts,
        )
        return loss, part, torch.tensor([0.0, 0.0, 0.0, 0.0, float(item.mask.sum())], device=part.device)

    def update_model(self, losses: Tensor, rewards: Mapping[str, float], metrics: dict[str, float]) -> bool:
        """An optimizer step, unless a loss, a reward or the gradient is not finite; whether it was taken."""
        limit = self.experiment.optimizer.max_grad_norm
        norm = float(self.accelerator.clip_grad_norm_(self.scorer.parameters(), limit))
        metrics |= {"gradient_norm": norm, "learning_rate": float(self.schedule.get_last_lr()[0])}
        finite = bool(torch.isfinite(losses).all()) and all(map(math.isfinite, [norm, *rewards.values()]))
        if finite:
            self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return finite

    def signals(self, counts: StepCounts, losses: Tensor, rewards: Mapping[str, float]) -> dict[str, float]:
        """What each objective present in this step reports to the reweighting policy."""
        signals = {}
        for k, objective in enumerate(self.objectives):
            if counts.units[:, k].sum() == 0:
                continue
            kind = self.reweighting.signal_kinds[objective.name]
            if kind == "loss":
                carried = int((counts.units[:, k] > 0).sum())  # mean over the domains that carry it
                signals[objective.name] = float(losses[k]) * counts.num_domains / carried
            else:
                mean = rewards[objective.name]
                signals[objective.name] = mean if kind == "reward" else 1 - mean
        return signals
