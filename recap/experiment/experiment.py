"""`Experiment`: everything a gin file says about a run, validated before any model is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal, get_args

import gin
from annotated_types import Ge, Gt

from recap.data.domains import Domain, describe
from recap.data.endings import at_hand, next_step
from recap.data.mixtures import Mixture, Uniform
from recap.data.objectives import Objective, ObjectiveScope, collect_objectives
from recap.evaluation.capabilities import Capability
from recap.evaluation.drift import Drift
from recap.experiment.run_settings import Checkpoints, Tracking
from recap.model.adapters import LoRA, trained_share
from recap.model.scoring import Scoring
from recap.optimization.adamw import AdamW
from recap.optimization.gradients import AGGREGATORS
from recap.optimization.grpo import GRPO, WeightsActOn
from recap.rewards.workers import RewardWorkers
from recap.sampling.rollout import Sampling
from registry.backends.base import Backend, LoadedModel
from registry.core import near_matches
from registry.replay.base import MissingData
from registry.reweighting.base import ReweightingPolicy, SignalKind
from registry.verifiers.base import Verifier

BuildPolicy = Callable[[Mapping[str, SignalKind]], ReweightingPolicy]


@gin.configurable("train", module="recap")
@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A training run.

    Args:
        model: a backend, e.g. `@backends.tiny_qwen2_5_vl()`.
        domains: what is trained on.
        steps: batches of rollouts, each followed by `grpo.iterations` optimizer updates (by default one).
        adapter: None: all weights of the model are trained; or `@lora()` (`experiments/adapters/lora.gin`).
        reweighting: a policy without parentheses, e.g. `@reweighting.recap`; it is built with the objectives.
        mixture: how many prompts of a step each domain gets.
        prompts_per_step: over all domains and processes.
        accumulation_steps: micro-batches that a process splits its prompts into.
        objective_scope: 'shared': domains that use one objective name share it; 'per_domain': each has its own.
        weights_act_on: 'loss', 'advantage', 'normalized_advantage' (GDPO) or 'reward', for objectives trained by
            reinforcement; see `recap.learning.advantages`.
        gradient_method: how the gradients of the objectives, λ_k ∇L_k, become one: None: their mean, as in the paper; or a
            method of TorchJD by name, e.g. 'upgrad', 'pcgrad', 'mgda', for a backward pass per objective. All trained
            parameters must be on every process.
        signal: what those report to the policy: 'reward', 'shortfall' or 'loss', a mean over their domains
            (`recap.learning.signals`); next-token prediction reports its loss.
        capabilities: what is evaluated on held-out examples.
        evaluate_every: steps between evaluations; None: only before and after.
        drift: how the divergence from the base is measured at every evaluation; None: not at all.
        max_skipped_steps: the run stops after this many steps in a row with a loss, gradient or reward that is not finite.
        mixed_precision: 'no' or 'bf16'.
        activation_checkpointing: whether the loss keeps the input of every layer only, of the language model and of the vision
            tower, and backward computes the layers again: much less memory for about a third more computation. The
            gradient is the same. Prompts are then computed again in the loss (`scoring.reuse_prefill` has no effect).
        collective_timeout_s: how long a process waits for the others where all must come together (a sum of gradients, a
            checkpoint) before the run ends: longer than one may be late, evaluations and saving included. Opening the
            data is waited for without limit.
        seed: of all that is random and has no seed bound: rollouts, examples and their order; not of what is held out.

    Raises:
        ValueError: settings that cannot work, each named by its binding.
    """

    model: Backend
    domains: Sequence[Domain]
    steps: int
    reweighting: BuildPolicy
    adapter: LoRA | None = None
    mixture: Mixture = field(default_factory=Uniform)
    prompts_per_step: int = 16
    accumulation_steps: int = 1
    objective_scope: ObjectiveScope = "shared"
    weights_act_on: WeightsActOn = "loss"
    gradient_method: str | None = None
    signal: SignalKind = "reward"
    rollout: Sampling = field(default_factory=Sampling)
    scoring: Scoring = field(default_factory=Scoring)
    grpo: GRPO = field(default_factory=GRPO)
    optimizer: AdamW = field(default_factory=AdamW)
    rewards: RewardWorkers = field(default_factory=RewardWorkers)
    capabilities: Sequence[Capability] = ()
    evaluate_every: int | None = None
    drift: Drift | None = field(default_factory=Drift)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    tracking: Tracking = field(default_factory=Tracking)
    max_skipped_steps: int = 5
    mixed_precision: Literal["no", "bf16"] = "no"
    activation_checkpointing: bool = False
    collective_timeout_s: Annotated[float, Gt(0)] = 1800.0
    seed: Annotated[int, Ge(0)] = 0

    def __post_init__(self) -> None:
        if not self.domains:
            raise ValueError("train.domains is empty: name at least one domain, e.g. [@counting/Domain()]")
        for kind, parts in (("domains", self.domains), ("capabilities", self.capabilities)):
            twice = [name for name, count in Counter(part.name for part in parts).items() if count > 1]
            if twice:
                raise ValueError(f"train.{kind} names {', '.join(twice)} more than once")
        for name in ("steps", "prompts_per_step", "accumulation_steps", "max_skipped_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be at least 1; it is {getattr(self, name)}")
        if not self.collective_timeout_s > 0:
            raise ValueError(f"train.collective_timeout_s must be greater than 0; it is {self.collective_timeout_s}")
        if self.evaluate_every is not None and self.evaluate_every < 1:
            raise ValueError(f"train.evaluate_every must be at least 1, or None; it is {self.evaluate_every}")
        choices = {
            "objective_scope": ("shared", "per_domain"),
            "weights_act_on": get_args(WeightsActOn),
            "signal": ("reward", "shortfall", "loss"),
            "mixed_precision": ("no", "bf16"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"train.{name} must be one of {', '.join(allowed)}; it is {getattr(self, name)!r}")
        if self.gradient_method is not None and self.gradient_method not in AGGREGATORS:
            near = near_matches(self.gradient_method, AGGREGATORS)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(AGGREGATORS)}"
            raise ValueError(f"train.gradient_method is {self.gradient_method!r}; {hint}")
        if isinstance(self.reweighting, ReweightingPolicy):
            raise ValueError("train.reweighting takes the policy without parentheses: @reweighting.recap")
        for domain in self.domains:
            domain.source.take_seed(self.seed)
        policy = self.build_reweighting()
        _check_weights(policy, {objective.name for objective in self.objectives})
        if (self.gradient_method or policy.needs_gradient_norms) and self.weights_act_on != "loss":
            asks = (
                f"train.gradient_method = {self.gradient_method!r}" if self.gradient_method else describe(type(policy))
            )
            raise ValueError(
                f"{asks} needs the gradient of every objective by itself: train.weights_act_on must be 'loss';"
                f" it is {self.weights_act_on!r}"
            )
        _check_kl_on(self)
        if self.adapter is not None and not isinstance(self.adapter, LoRA):
            raise ValueError("train.adapter takes the adapter with parentheses: @lora()")
        reinforced = [objective.name for objective in self.objectives if not objective.supervised]
        if self.adapter is not None and self.adapter.dropout and reinforced:
            raise ValueError(
                f"lora.dropout = {self.adapter.dropout} with {', '.join(reinforced)} trained by reinforcement: completions"
                " are sampled without dropout, and the importance ratio would not know; set it to 0"
            )

    @cached_property
    def objectives(self) -> list[Objective]:
        """k = 1..K."""
        return collect_objectives(self.domains, self.objective_scope)

    def build_reweighting(self) -> ReweightingPolicy:
        """A fresh policy for the experiment's objectives."""
        kinds: dict[str, SignalKind] = {
            objective.name: "loss" if objective.supervised else self.signal for objective in self.objectives
        }
        policy = self.reweighting(kinds)
        policy.take_seed(self.seed)
        return policy

    @cached_property
    def kl_coefficient(self) -> float:
        """β of the KL term: the policy's, where it asks for one, else `grpo.kl_coefficient`."""
        asked = self.build_reweighting().kl_coefficient
        return self.grpo.kl_coefficient if asked is None else asked

    @property
    def copies_reference(self) -> bool:
        """Whether a copy of the model as it was at the start is kept: for a KL term, unless an adapter's base is there."""
        return self.kl_coefficient > 0 and self.adapter is None

    def load_model(self) -> LoadedModel:
        """The model, on the CPU, with its adapter where there is one; the same on every process.

        Raises:
            ValueError: the model or the adapter's package cannot be had, or the adapter does not fit the model.
        """
        if self.adapter is None:
            return self.model.load()
        self.adapter.check()  # before minutes of loading
        loaded = self.model.load()
        self.adapter.attach(loaded.model, self.seed)
        loaded.description += f" with {self.adapter} ({trained_share(loaded.model)})"
        return loaded

    def over(self, step: int) -> bool:
        """Whether all steps were taken, or its sources, where they stand, have none left; alike on every process."""
        return step >= self.steps or next_step(self.domains, self.mixture, self.prompts_per_step, step) is None

    @property
    def lengths_at_hand(self) -> bool:
        """Whether what the mixture asks of the sources can be known without a download."""
        return not self.mixture.needs_lengths or all(at_hand(domain.source) for domain in self.domains)

    def check(self) -> list[str]:
        """Finds what is wrong without loading model or data; returns what is merely not on this machine.

        Raises:
            ValueError: what cannot work anywhere, named by its binding.
        """
        self.check_settings()
        missing = []
        parts: list[Domain | Capability] = [*self.domains, *self.capabilities]
        for part in parts:
            where = f"{part.name}/{type(part).__name__}.source"
            try:
                part.source.check()
            except MissingData as error:
                missing.append(f"{where}: {error}")
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
        return missing

    def check_settings(self) -> None:
        """All that `check` does but for the sources."""
        self.model.check()
        if self.adapter is not None:
            self.adapter.check()
        if self.rollout.generator is not None:
            self.rollout.generator.check()
        if self.lengths_at_hand:
            self.mixture.allocate(self.domains, self.prompts_per_step, 0)
        asked = {f"{d.name}/Domain.objectives[{name!r}]": v for d in self.domains for name, v in d.verifiers.items()}
        asked |= {f"{capability.name}/Capability.verifier": capability.verifier for capability in self.capabilities}
        for where, verifier in asked.items():
            if isinstance(verifier, Verifier):
                try:
                    verifier.check()
                except ValueError as error:
                    raise ValueError(f"{where}: {error}") from error


def saves_activations(experiment: Experiment) -> bool:
    """Whether activations are not to outlive their forward: of one micro-batch at a time, or computed again."""
    return experiment.accumulation_steps > 1 or experiment.activation_checkpointing


def loads_base(experiment: Experiment) -> bool:
    """Whether evaluations load the base model again for a while: to measure drift, where nothing else has its weights."""
    measured = experiment.drift is not None and bool(experiment.capabilities)
    return measured and experiment.adapter is None and not experiment.copies_reference


def kl_domains(experiment: Experiment) -> list[bool]:
    """Of each domain, whether the KL term acts on its prompts (`grpo.kl_on`)."""
    on = experiment.grpo.kl_on
    return [on == "all" or domain.replayed == (on == "replay") for domain in experiment.domains]


def _check_kl_on(experiment: Experiment) -> None:
    on = experiment.grpo.kl_on
    if on == "all":
        return
    if not experiment.kl_coefficient:
        raise ValueError(f"grpo.kl_on is {on!r}, but there is no KL term: set grpo.kl_coefficient above 0")
    under = zip(experiment.domains, kl_domains(experiment), strict=True)
    if not any(acts and domain.verifiers for domain, acts in under):
        kind = "is replayed" if on == "replay" else "is not replayed"
        raise ValueError(
            f"grpo.kl_on is {on!r}, but no domain that is trained by reinforcement {kind}:"
            " say which are, e.g. grounding/Domain.replayed = True"
        )


def _check_weights(policy: ReweightingPolicy, wanted: set[str]) -> None:
    name = describe(type(policy))
    try:
        weights = dict(policy.weights)
    except Exception as error:
        raise ValueError(f"train.reweighting: {name} fails to give weights before the first step: {error!r}") from error
    for fault, names in (("gives no weight for", wanted - set(weights)), ("weighs", set(weights) - wanted)):
        if names:
            known = "" if fault == "gives no weight for" else "which is no objective; "
            raise ValueError(
                f"train.reweighting: {name} {fault} {', '.join(sorted(names))}; {known}its weights must name every"
                f" objective: {', '.join(sorted(wanted))}"
            )
