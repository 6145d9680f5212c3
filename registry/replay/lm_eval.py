"""Tasks of lm-eval, asked and judged in the training process: a benchmark beside the curves, or something to train on."""

from __future__ import annotations

import functools
from typing import Any, Literal

from registry import replay_sources
from registry.example import Example
from registry.replay.base import ReplaySource

MISSING = 'replay.lm_eval: the package lm-eval is missing: pip install "recap-rlvr[lm-eval]"'


@replay_sources.register("lm_eval")
class LMEvalTask(ReplaySource):
    """Takes the questions of one task of lm-eval whose answers are generated (``output_type: generate_until``); text only.

    Judge them with the verifier `lm_eval`, which calls the task's own filter and metric. The question is the prompt that the
    harness would write, examples and description included, as one turn of the user: scores are to be compared with those of
    ``lm_eval --apply_chat_template``. Tasks that compare likelihoods of given answers are for `recap eval`.

    Source: lm-evaluation-harness 0.4.13.

    Args:
        task: its name, e.g. ``gsm8k``.
        split: what the task evaluates on (its test documents, else those for validation), or what it trains on.
        include: a folder of task definitions (YAML) of your own.
        shots: solved examples before a question; None: as many as the task wants. Drawn ones are the same for a question in
            every run, where the harness draws them in the order of its questions.
        seed: seeds the shots. Questions come in the order of the task.

    Raises:
        ValueError: by `check`, or at the first example: no such package, task or documents; a task of another kind.
    """

    def __init__(
        self,
        task: str,
        split: Literal["evaluation", "training"] = "evaluation",
        include: str | None = None,
        shots: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        if split not in ("evaluation", "training"):
            raise ValueError(f"replay.lm_eval: split must be 'evaluation' or 'training', not {split!r}")
        self.task, self.split, self.include, self.shots = task, split, include, shots

    @property
    def length(self) -> int:
        return len(self._documents)

    def example(self, position: int) -> Example:
        index = position % self.length
        document = dict(self._documents[index])
        shots = self._task.config.num_fewshot or 0 if self.shots is None else self.shots
        self._task.set_fewshot_seed(
            self.seed * 1_000_003 + index
        )  # else a question's shots depend on who was asked before
        target = self._task.doc_to_target(document)
        return Example(
            id=f"{self.task}/{self.split}/{index}",
            question=self._task.fewshot_context(document, shots),
            answer=target
            if isinstance(target, str)
            else str(target[0] if isinstance(target, list) and target else target),
            metadata={"lm_eval": {"task": self.task, "include": self.include, "document": document}},
        )

    def check(self) -> None:
        load_task(self.task, self.include, find_only=True)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_task", "_documents")}

    @functools.cached_property
    def _task(self) -> Any:
        return load_task(self.task, self.include)

    @functools.cached_property
    def _documents(self) -> Any:
        if self.split == "evaluation":
            return self._task.eval_docs
        if not self._task.has_training_docs():
            raise ValueError(f"replay.lm_eval: {self.task} has no documents to train on (training_split)")
        return self._task.training_docs()


def load_task(name: str, include: str | None, find_only: bool = False) -> Any:
    """The task object of lm-eval, with its documents, which it may download.

    Args:
        find_only: None instead, without a download, if there is such a task.

    Raises:
        ValueError: the package is missing, no such task, a group of tasks, or a task whose answers are not generated.
    """
    manager = _manager(include)
    if name not in manager.all_subtasks:
        group = " is a group: name one of its tasks" if name in manager.all_tasks else " is none of lm-eval's tasks"
        raise ValueError(
            f"replay.lm_eval: {name!r}{group}; lm_eval ls tasks lists them; include names a folder of your own"
        )
    if find_only:
        return None
    task = manager.load_task_or_group(name)[name]
    if task.OUTPUT_TYPE != "generate_until":
        raise ValueError(
            f"replay.lm_eval: {name} is of the kind {task.OUTPUT_TYPE}, whose answers are not generated but compared:"
            f" recap eval RUN --tasks {name}"
        )
    return task


@functools.cache
def _manager(include: str | None) -> Any:
    """It reads thousands of YAML files, which takes seconds."""
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise ValueError(MISSING) from error
    return TaskManager(include_path=include)
