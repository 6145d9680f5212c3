"""RECAP in verl: our verifiers as its `compute_score`, and moving weights in its batch reward manager.

A file of your own, named by ``custom_reward_function.path``, holds one of these (``custom_reward_function.name``):

>>> compute_score = as_compute_score("accuracy")
>>> reweighted = ReweightedScores({"accuracy": "accuracy", "format": "thinking_format"}, "recap", temperature=1.0)

Nothing here imports verl. Written after, and tested against, the calls that verl's reward managers make (`naive`, its reward
loop, `batch`; version 0.8.0.dev of January 2026), and against those managers themselves, `naive` and `batch` of 0.9.1. It was
never part of a training run of verl.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from recap.integrations.examples import to_example
from recap.integrations.policies import BuildPolicy, build_policy, pack, series, unpack
from recap.rewards.requests import ScoreRequest
from recap.rewards.workers import RewardWorkers
from registry import verifiers
from registry.example import Example
from registry.verifiers.base import Judge


def as_compute_score(verifier: str | Judge, *, workers: RewardWorkers | None = None) -> ComputeScore:
    """A verifier as verl's ``compute_score(data_source, solution_str, ground_truth, extra_info=None)``.

    The reference is `ground_truth`; what `extra_info` has under names of an example's fields (``choices``, ``box_frame``) is
    taken for these, the rest is metadata. Where a verifier does not apply, the score is 0: verl has no other answer.

    Args:
        verifier: a registered name, a verifier, or a function (completion, example) -> reward.
        workers: the processes of verifiers that are not quick; None: two of its own.
    """
    return ComputeScore(_judge(verifier), workers or RewardWorkers())


class ComputeScore:
    """A verifier as verl calls it, also from several threads; see `as_compute_score`."""

    def __init__(self, judge: Judge, workers: RewardWorkers) -> None:
        self.judge, self.workers = judge, workers
        self._lock = threading.Lock()

    def __call__(
        self, data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None, **kwargs: Any
    ) -> float:
        example = _example(data_source, ground_truth, extra_info)
        with self._lock:  # verl's reward loop calls from a pool of threads
            pending = self.workers.begin([ScoreRequest(self.judge, solution_str, example)])
        (reward,) = pending.result().rewards
        return 0.0 if reward is None else reward

    def __getstate__(self) -> dict[str, Any]:
        """For Ray: the copy starts worker processes of its own."""
        return {"judge": self.judge, "settings": (self.workers.timeout_s, self.workers.workers, self.workers.memory_gb)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        ComputeScore.__init__(self, state["judge"], RewardWorkers(*state["settings"]))


class ReweightedScores:
    """Σ λ_k r_k over several verifiers, for verl's batch reward manager (``reward_model.reward_manager=batch``).

    That manager asks for all completions of a step at once, which makes the call the place for the policy: the scores have
    the weights from before, then the policy sees the mean reward of each verifier. Rewards and weights go to verl's log
    beside the score. λ acts on the rewards, before verl normalises their sum within a group: only the ratios of weights act
    where it divides by the standard deviation.

    Validation does not move the weights: examples whose ``extra_info["split"]`` is not ``"train"`` are scored and not
    counted. (One without a ``split`` counts as training.) verl keeps nothing of a reward function in its checkpoints, hence
    `state`. The object stays in one process: ``reward_model.launch_reward_fn_async`` must be off.

    Args:
        judges: objective -> verifier, or its registered name.
        policy: a registered name, or a policy's class.
        signal: 'reward' or 'shortfall'.
        state: a file that keeps the policy's state, written after every update, read at the start where it is there.
        workers: the processes of verifiers that are not quick.
        parameters: of the policy.

    Raises:
        ValueError: an unknown name; a policy that asks for gradient norms or a KL term; a state of another policy.
    """

    def __init__(
        self,
        judges: Mapping[str, str | Judge],
        policy: str | BuildPolicy = "recap",
        *,
        signal: Literal["reward", "shortfall"] = "reward",
        state: str | os.PathLike[str] | None = None,
        workers: RewardWorkers | None = None,
        **parameters: Any,
    ) -> None:
        if signal not in ("reward", "shortfall"):
            raise ValueError(f"signal must be 'reward' or 'shortfall'; it is {signal!r}")
        if not isinstance(judges, Mapping) or not judges:
            raise ValueError(
                f"judges must be a mapping of names to verifiers, as {{'accuracy': 'accuracy'}}; it is {judges!r}"
            )
        self.judges = {name: _judge(judge) for name, judge in judges.items()}
        self.policy = build_policy(policy, dict.fromkeys(self.judges, signal), parameters)
        if self.policy.needs_gradient_norms or self.policy.kl_coefficient is not None:
            raise ValueError(
                f"{type(self.policy).__name__} asks for gradient norms or a KL term, which no reward can give"
            )
        self.signal, self.workers = signal, workers or RewardWorkers()
        self.state = None if state is None else Path(state)
        if self.state is not None and self.state.is_file():
            unpack(self.policy, self.state.read_text(encoding="ascii"))

    def __call__(
        self,
        data_sources: Sequence[str],
        solution_strs: Sequence[str],
        ground_truths: Sequence[Any],
        extra_infos: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> list[dict[str, float]]:
        """For each completion its ``score``, the reward of each verifier (NaN where it does not apply) and the weights."""
        infos = [None] * len(solution_strs) if extra_infos is None else list(extra_infos)
        examples = [_example(*row) for row in zip(data_sources, ground_truths, infos, strict=True)]
        rewards = self._rewards(solution_strs, examples)
        counted = [(info or {}).get("split", "train") == "train" for info in infos]
        means = self._means(rewards, counted)
        if self.policy.same_step and means:
            self._update(means)
        weights, diagnostics = self.policy.weights, self.policy.diagnostics
        if not self.policy.same_step and means:
            self._update(means)
        logged = series(weights, diagnostics)
        return [
            {
                "score": math.fsum(weights[name] * reward for name, reward in row.items() if not math.isnan(reward)),
                **row,
                **logged,
            }
            for row in rewards
        ]

    def _rewards(self, completions: Sequence[str], examples: Sequence[Example]) -> list[dict[str, float]]:
        requests = [
            ScoreRequest(judge, completion, example)
            for completion, example in zip(completions, examples, strict=True)
            for judge in self.judges.values()
        ]
        found = iter(self.workers.score(requests).rewards)
        return [
            {name: math.nan if (reward := next(found)) is None else reward for name in self.judges} for _ in examples
        ]

    def _means(self, rewards: Sequence[Mapping[str, float]], counted: Sequence[bool]) -> dict[str, float]:
        means = {}
        for name in self.judges:
            values = [row[name] for row, counts in zip(rewards, counted, strict=True) if counts]
            applied = [value for value in values if not math.isnan(value)]
            if applied:
                means[name] = math.fsum(applied) / len(applied)
        return means

    def _update(self, means: Mapping[str, float]) -> None:
        self.policy.update({name: 1 - mean if self.signal == "shortfall" else mean for name, mean in means.items()})
        if self.state is not None:
            self.state.parent.mkdir(parents=True, exist_ok=True)
            partial = self.state.with_name(self.state.name + ".partial")
            partial.write_text(pack(self.policy), encoding="ascii")
            partial.replace(self.state)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "ReweightedScores keeps the history of the rewards, which a copy in another process would not see: switch"
            " reward_model.launch_reward_fn_async off"
        )


def _judge(verifier: str | Judge) -> Judge:
    judge: Judge = verifiers.build(verifier) if isinstance(verifier, str) else verifier
    return judge


def _example(data_source: str, ground_truth: Any, extra_info: Any) -> Example:
    row = {**(extra_info or {}), "answer": ground_truth}
    return to_example(row, {}, question="", default_id=f"{data_source}/{row.get('index', '?')}")
