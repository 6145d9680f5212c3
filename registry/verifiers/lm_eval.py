"""What does the task of lm-eval say of the completion?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from registry import verifiers
from registry.example import Example
from registry.verifiers.base import UNDECIDED, Undecided, Verifier


@verifiers.register("lm_eval")
class LMEvalMetric(Verifier):
    """The metric that a task of lm-eval gives to the completion, after the task's filter; None for other examples.

    The completion is cut where the harness would have stopped it, at the first of the task's ``until``. Only metrics that are
    a number for every document can be had (``exact_match``, ``acc``), not those of a whole corpus (``bleu``). The task reads
    the whole completion, thoughts included: good to measure by; who trains on it should add a format.

    Source: lm-evaluation-harness 0.4.13, `process_results` and filters of the task. It is called in a worker, since tasks may
    bring code of their own.

    Args:
        metric: its name; None: the task's first.
        filter: its name, e.g. ``flexible-extract``; None: the task's first.

    >>> LMEvalMetric()("4", Example(id="1", question="2 + 2?", answer="4")) is None
    True

    Raises:
        ValueError: by `check`, or at a call: the package lm-eval is missing; at a call: no such metric or filter, or no number.
    """

    needs: ClassVar[Mapping[str, str]] = {"lm_eval": "lm-eval"}

    def __init__(self, metric: str | None = None, filter: str | None = None) -> None:
        self.metric, self.filter = metric, filter
        self._tasks: dict[tuple[str, str | None], Any] = {}

    def __call__(self, completion: str, example: Example) -> float | None:
        if "lm_eval" not in example.metadata:
            return None
        asked = example.metadata["lm_eval"]
        task = self._task(asked["task"], asked["include"])
        found = task.process_results(asked["document"], [self._filtered(task, _stopped(task, completion), asked)])
        name = next(iter(found)) if self.metric is None else self.metric
        if name not in found:
            raise ValueError(f"verifiers.lm_eval: {asked['task']} has no metric {name!r}; it has {', '.join(found)}")
        try:
            score = float(found[name])
        except (TypeError, ValueError) as error:
            raise ValueError(f"verifiers.lm_eval: {name} of {asked['task']} is no number for one document") from error
        return 0.0 if math.isnan(score) else min(max(score, 0.0), 1.0)

    def shortcut(self, completion: str, example: Example) -> float | Undecided | None:
        return UNDECIDED if "lm_eval" in example.metadata else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tasks": {}}  # loaded again where they are needed

    def _filtered(self, task: Any, completion: str, asked: Mapping[str, Any]) -> Any:
        from lm_eval.api.instance import Instance

        filters = {ensemble.name: ensemble for ensemble in task._filters}
        name = next(iter(filters)) if self.filter is None else self.filter
        if name not in filters:
            raise ValueError(f"verifiers.lm_eval: {asked['task']} has no filter {name!r}; it has {', '.join(filters)}")
        instance = Instance("generate_until", asked["document"], ("", {}), 0, resps=[completion])
        filters[name].apply([instance])
        return instance.filtered_resps[name]

    def _task(self, name: str, include: str | None) -> Any:
        from registry.replay.lm_eval import load_task

        if (name, include) not in self._tasks:
            self._tasks[name, include] = load_task(name, include)
        return self._tasks[name, include]


def _stopped(task: Any, completion: str) -> str:
    until = (task.config.generation_kwargs or {}).get("until") or []
    for stop in [until] if isinstance(until, str) else until:
        completion = completion.split(stop, 1)[0] if stop else completion
    return completion
