"""RECAP in TRL's GRPOTrainer and RLOOTrainer: moving reward weights, and our verifiers as reward functions.

>>> trainer = GRPOTrainer(model, reward_funcs=[as_trl_reward("accuracy", columns={"answer": "solution"}), brevity], ...)
>>> trainer.add_callback(Reweighting(trainer, "recap", temperature=1.0))
>>> trainer.train()

Written for TRL 1.16, and tested against it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from recap.integrations.examples import text_of, to_example
from recap.integrations.policies import BuildPolicy, build_policy, series
from recap.integrations.trainer_state import PolicyCallback
from recap.rewards.requests import ScoreRequest, verifier_name
from recap.rewards.workers import RewardWorkers
from registry import verifiers
from registry.reweighting.base import ReweightingPolicy
from registry.verifiers.base import Judge

NOT_COLUMNS = frozenset({"completion_ids", "trainer_state", "log_extra", "log_metric", "environments"})
"""What TRL gives a reward function beside the columns of the data set."""


class Reweighting(PolicyCallback):
    """Drives the reward weights of a GRPOTrainer or RLOOTrainer by a reweighting policy; an objective is a reward function.

    The policy sees the mean reward of each function over the completions to which it applies, of all processes, once per
    optimizer step in which completions were sampled. λ then multiplies the trainer's own `reward_weights`, in either
    `multi_objective_aggregation`. With 'sum_then_normalize' and rewards scaled by their standard deviation, only the ratios
    of weights act. Weights and diagnostics are logged by TRL's loggers, ``weight/NAME`` being what acted on the completions
    of the same line, and the policy's state is part of every checkpoint. Evaluation is weighted by the latest λ.

    Args:
        trainer: made already, so that its reward functions are known.
        policy: a registered name, also one of an installed plugin, or a policy's class.
        signal: 'reward', or 'shortfall' for rewards in [0, 1]: what each function reports.
        parameters: of the policy.

    Raises:
        ValueError: an unknown policy or signal; a policy that TRL cannot serve; two reward functions of one name.
        TypeError: a trainer without reward weights.
    """

    def __init__(
        self,
        trainer: Any,
        policy: str | BuildPolicy = "recap",
        *,
        signal: Literal["reward", "shortfall"] = "reward",
        **parameters: Any,
    ) -> None:
        for attribute in ("reward_weights", "reward_func_names", "_calculate_rewards", "_log_metric"):
            if not hasattr(trainer, attribute):
                raise TypeError(
                    f"{type(trainer).__name__} has no {attribute!r}: this callback is for TRL's GRPOTrainer and RLOOTrainer, as"
                    " they are in TRL 1.16"
                )
        names = list(trainer.reward_func_names)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"several reward functions are called {', '.join(twice)}: set the __name__ of each")
        if signal not in ("reward", "shortfall"):
            raise ValueError(f"signal must be 'reward' or 'shortfall'; it is {signal!r}")
        super().__init__(build_policy(policy, dict.fromkeys(names, signal), parameters))
        _check(self.policy, trainer)
        self.trainer, self.names, self.signal = trainer, names, signal
        self._own_weights: Tensor = trainer.reward_weights.clone()
        self._sums = self._counts = torch.zeros(len(names), dtype=torch.float64)
        self._watch()

    def _watch(self) -> None:
        """Sees the rewards of all processes between their computation and their first use. No hook of TRL is there."""
        calculate = self.trainer._calculate_rewards

        @functools.wraps(calculate)
        def watched(*args: Any, **kwargs: Any) -> Tensor:
            rewards: Tensor = calculate(*args, **kwargs)
            if self.trainer.model.training:
                self._observe(rewards)
            return rewards

        self.trainer._calculate_rewards = watched

    def _observe(self, rewards: Tensor) -> None:
        """Takes note of rewards [completions, functions], NaN where one does not apply, and sets the weights they will have."""
        rewards = rewards.detach().cpu().double()
        applies = ~rewards.isnan()
        self._sums = self._sums + torch.where(applies, rewards, 0.0).sum(0)
        self._counts = self._counts + applies.double().sum(0)
        if self.policy.same_step:
            self.end_step()
        weights = self.policy.weights
        lam = torch.tensor([weights[name] for name in self.names], dtype=self._own_weights.dtype)
        self.trainer.reward_weights = self._own_weights * lam.to(self._own_weights.device)
        for name, value in series(weights, self.policy.diagnostics).items():
            self.trainer._log_metric(name, value)

    def end_step(self) -> None:
        """Updates the policy by the mean rewards since the last update, where there were any."""
        if not self._counts.any():
            return
        means = dict(zip(self.names, (self._sums / self._counts).tolist(), strict=True))
        present = {name: means[name] for name, count in zip(self.names, self._counts.tolist(), strict=True) if count}
        self._sums = self._counts = torch.zeros(len(self.names), dtype=torch.float64)
        self.policy.update({name: 1 - x if self.signal == "shortfall" else x for name, x in present.items()})


def _check(policy: ReweightingPolicy, trainer: Any) -> None:
    """Raises ValueError for a policy that asks for what TRL does not have."""
    name = type(policy).__name__
    if policy.needs_gradient_norms:
        raise ValueError(f"{name} asks for the gradient norm of every objective; TRL has one loss for all rewards")
    beta = policy.kl_coefficient
    if beta is not None and beta != trainer.beta:
        raise ValueError(
            f"{name} asks for a KL term: make the trainer with beta={beta:g}; its beta is {trainer.beta:g}"
        )


class TRLReward:
    """A verifier as a reward function of TRL; see `as_trl_reward`."""

    def __init__(self, judge: Judge, name: str, columns: Mapping[str, str], workers: RewardWorkers) -> None:
        self.judge, self.columns, self.workers = judge, dict(columns), workers
        self.__name__ = name

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **given: Any) -> list[float | None]:
        """Rewards of completions; None, which TRL leaves out, where the verifier does not apply.

        Raises:
            ValueError: a column that is not there, or a reward outside [0, 1].
            RuntimeError: a verifier that fails whenever it is asked, or workers that cannot be started.
        """
        data = {column: values for column, values in given.items() if column not in NOT_COLUMNS}
        requests: list[ScoreRequest] = []
        before: tuple[Any, dict[str, Any]] | None = None
        for number, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            row = {column: values[number] for column, values in data.items()}
            if before is None or not _same(before, (prompt, row)):  # completions of one group share an example
                example = to_example(row, self.columns, question=text_of(prompt), default_id=f"row {number}")
            before = (prompt, row)
            requests.append(ScoreRequest(self.judge, text_of(completion), example))
        result = self.workers.score(requests)
        if (log := given.get("log_metric")) is not None:
            log(f"faults/{self.__name__}", float(result.faults.total()))
            log(f"timeouts/{self.__name__}", float(result.timeouts.total()))
        return result.rewards


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except (ValueError, RuntimeError):  # arrays compare element by element
        return False


def as_trl_reward(
    verifier: str | Judge,
    *,
    columns: Mapping[str, str] | None = None,
    workers: RewardWorkers | None = None,
    name: str | None = None,
) -> TRLReward:
    """A verifier as a reward function of TRL, with the isolation that it has in `recap train`.

    A verifier that does not say that it is `quick` runs in worker processes that are killed at the time limit. A fault or a
    time-out scores 0 and is counted (``faults/NAME``, ``timeouts/NAME`` in TRL's log). A script that uses such a verifier must
    train under ``if __name__ == "__main__":``. Completions in a row that share prompt and columns are judged as one group.

    Args:
        verifier: a registered name, a verifier, or a function (completion, example) -> reward.
        columns: field of `registry.example.Example` -> column of the data set, e.g. ``{"answer": "solution"}``. Columns that
            are called like a field are taken without; the rest is the example's metadata.
        workers: to be shared by several reward functions; None: two processes for this one.
        name: in TRL's log, and of the objective; by default that of the verifier.

    Raises:
        ValueError: no verifier of that name.
    """
    judge: Judge = verifiers.build(verifier) if isinstance(verifier, str) else verifier
    return TRLReward(judge, name or verifier_name(judge), columns or {}, workers or RewardWorkers())
