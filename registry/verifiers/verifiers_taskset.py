"""The rewards that a task of the `verifiers` package gives to an answer."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Mapping
from typing import Any, ClassVar

from registry import verifiers
from registry.example import Example
from registry.verifiers.base import Verifier
from registry.verifiers.user_functions import Scale, check_scale, scaled

NAME = "verifiers.verifiers_taskset"


@verifiers.register("verifiers_taskset")
class TasksetReward(Verifier):
    """The rewards of a task of `verifiers` (0.4, `verifiers.v1`), as its package scores an answer; None for other examples.

    For examples of `@replay.verifiers_taskset()`. The task sees a trace of two messages, its question and the completion as
    it is, thoughts included. One reward by name, without its weight; or, as the package adds them up, the sum of all, each
    times its weight. Metrics are not asked for.

    >>> TasksetReward()("3", Example(id="1", question="1 + 2?", answer="3")) is None  # of another source
    True

    Args:
        reward: name of one of the task's rewards, for an objective of its own; None: their weighted sum.
        scale: (lowest, highest) that comes out, mapped to 0 and 1; None: it lies in [0, 1] itself.

    Raises:
        ValueError: by `check`: the package verifiers is missing; at a call: a reward that the task does not have.
        RewardOutOfRange: a reward outside `scale`.
    """

    needs: ClassVar[Mapping[str, str]] = {"verifiers": "verifiers-tasksets"}

    def __init__(self, reward: str | None = None, scale: Scale | None = None) -> None:
        self.reward = reward
        self.scale = check_scale(scale, f"{NAME}.scale")

    def prepare(self) -> None:
        import verifiers.v1  # noqa: F401  seconds

    def __call__(self, completion: str, example: Example) -> float | None:
        described = example.metadata.get("verifiers_taskset")
        if described is None:
            return None
        rewards = _rewards(described, example.question, completion)
        if self.reward is None:
            return scaled(sum(reward.value for reward in rewards.values()), self.scale, f"{NAME}.scale")
        if self.reward not in rewards:
            raise ValueError(f"{NAME}.reward = {self.reward!r}: {example.id} has the rewards {', '.join(rewards)}")
        return scaled(rewards[self.reward].score, self.scale, f"{NAME}.scale")


def _rewards(described: Mapping[str, Any], question: str, completion: str) -> dict[str, Any]:
    """Name -> reward, with score, weight and value."""
    from verifiers.v1 import AgentConfig, AgentInfo, MessageNode, Trace, TraceTask
    from verifiers.v1.types import AssistantMessage, UserMessage

    taskset = _opened(described["taskset"], json.dumps(described["config"], sort_keys=True))
    kind = taskset.task_type()
    task = kind(kind.data_type().model_validate(described["data"]), taskset.config.task)
    said = [
        MessageNode(message=UserMessage(content=question)),
        MessageNode(parent=0, message=AssistantMessage(content=completion), sampled=True),
    ]
    trace = Trace(
        task=TraceTask(type=kind.__name__, data=task.data, key=task.key, hash=task.hash),
        agent=AgentInfo(config=AgentConfig()),
        nodes=said,
        is_completed=True,
        ok=True,
    )
    asyncio.run(task.score(trace))
    return {name: reward for name, reward in trace.rewards.items() if reward is not None}


@functools.lru_cache(maxsize=16)
def _opened(taskset: str, config: str) -> Any:
    """Once in each process."""
    from registry.replay.verifiers_taskset import open_taskset

    return open_taskset(taskset, json.loads(config))
