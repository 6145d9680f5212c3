"""Tasks of an environment written for the `verifiers` package, of one question and one answer each."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Mapping
from typing import Any

from registry import replay_sources
from registry.example import Example, MalformedExample
from registry.replay.base import ReplaySource, shuffled_row

NAME = "replay.verifiers_taskset"
MISSING = (
    f'{NAME}: the package verifiers is missing: pip install "recap-rlvr[verifiers-tasksets]" (Python 3.11 or later)'
)


@replay_sources.register("verifiers_taskset")
class VerifiersTaskset(ReplaySource):
    """Takes the tasks of a taskset of `verifiers` (0.4, `verifiers.v1`); text only, one turn.

    Judge them with the verifier `verifiers_taskset`, by the task's own rewards. A task whose question is a conversation, or
    has a picture, is a malformed example; a taskset whose tasks need more than an answer (tools, a container, a set-up, a
    judge, rewards that look into a runtime) is refused. A system prompt of the task stands before its question, with an
    empty line between.

    Args:
        taskset: id of an installed taskset, as `verifiers` finds it, e.g. ``my_taskset`` or ``owner/my-taskset``.
        config: the taskset's own settings, e.g. ``{'difficulty': 'easy'}``.
        length: of its tasks the first so many; None: all. A taskset without an end needs one.
        answer: the field of a task that holds the reference; without it the reference is ``''``: good for reinforcement,
            not for imitation.
        seed: seeds the order. None: from that of the run, and 0 for what is held out.

    Raises:
        ValueError: a length below 1. An unknown taskset or setting, or one that is refused, is found by `check`, or at the
            first example.
    """

    def __init__(
        self,
        taskset: str,
        config: Mapping[str, Any] | None = None,
        length: int | None = None,
        answer: str = "answer",
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        if length is not None and length < 1:
            raise ValueError(f"{NAME}: length must be at least 1, not {length}")
        self.taskset = taskset
        self.config = dict(config or {})
        self.answer = answer
        self._most = length

    @property
    def length(self) -> int:
        return len(self._tasks)

    @property
    def is_open(self) -> bool:
        return "_tasks" in self.__dict__

    @property
    def at_hand(self) -> bool:
        return False  # a taskset may download what it loads

    def example(self, position: int) -> Example:
        index = shuffled_row(position, self.length, self.seed)
        data = self._tasks[index].data
        name = f"{self.taskset}/{index}"
        answer = getattr(data, self.answer, None)
        return Example(
            id=name,
            question=_question(data, name),
            answer="" if answer is None else str(answer),
            metadata={
                "verifiers_taskset": {
                    "taskset": self.taskset,
                    "config": self.config,
                    "data": data.model_dump(mode="json"),
                }
            },
        )

    def check(self) -> None:
        refuse_what_needs_more(open_taskset(self.taskset, self.config), self.taskset)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_tasks"}

    @functools.cached_property
    def _tasks(self) -> list[Any]:
        taskset = open_taskset(self.taskset, self.config)
        refuse_what_needs_more(taskset, self.taskset)
        if self._most is None and not taskset.bounded:
            raise ValueError(f"{NAME}: {self.taskset} has no end: name a length")
        tasks = list(itertools.islice(taskset, self._most))
        if not tasks:
            raise ValueError(f"{NAME}: {self.taskset} has no tasks")
        return tasks


def open_taskset(taskset: str, config: Mapping[str, Any]) -> Any:
    """A taskset with its settings; nothing is loaded.

    Raises:
        ValueError: the package or the taskset is missing, or it refuses a setting.
    """
    try:
        from verifiers.v1.utils import loaders
    except ImportError as error:
        raise ValueError(MISSING) from error
    try:
        settings = loaders.taskset_config_type(taskset).model_validate({**config, "id": taskset})
        return loaders.load_taskset(settings)
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"{NAME}: no taskset {taskset!r}: {error}") from error
    except ValueError as error:  # pydantic's, which names the setting
        raise ValueError(f"{NAME}: {taskset} refuses its settings: {error}") from error


def refuse_what_needs_more(taskset: Any, name: str) -> None:
    """Raises ValueError for a taskset whose tasks are more than a question and rewards for the answer."""
    from verifiers.v1 import Task

    kind, task_config = taskset.task_type(), taskset.config.task
    probe = kind.__new__(kind)  # its hooks are methods and settings: no task has to be loaded to know them
    probe.config = task_config
    rewards = probe.hooks("reward")
    runtime = [reward.__name__ for reward in rewards if _asks_for_runtime(reward)]
    needs = {
        "a container": kind.NEEDS_CONTAINER,
        "tools": bool(taskset.toolsets(taskset.config) or kind.toolsets(task_config)),
        "a set-up of its own": kind.setup is not Task.setup or kind.finalize is not Task.finalize,
        "a judge": bool(task_config.judges),
        f"a runtime for {', '.join(runtime)}": bool(runtime),
    }
    if found := [what for what, needed in needs.items() if needed]:
        raise ValueError(f"{NAME}: tasks of {name} need {' and '.join(found)}: train them with verifiers itself")
    if not rewards:
        raise ValueError(f"{NAME}: tasks of {name} have no reward")


def _asks_for_runtime(function: Any) -> bool:
    parameter = inspect.signature(function).parameters.get("runtime")
    return parameter is not None and parameter.default is parameter.empty


def _question(data: Any, name: str) -> str:
    """The text that is asked.

    Raises:
        MalformedExample: it is no text: nothing, a conversation, a picture.
    """
    messages = [data.prompt] if isinstance(data.prompt, str) else list(data.prompt or ())
    texts = [] if data.system_prompt is None else [data.system_prompt]
    for place, message in enumerate(messages):
        content = message if isinstance(message, str) else message.content
        role = "user" if isinstance(message, str) else message.role
        last = place == len(messages) - 1
        if not isinstance(content, str):
            if any(not hasattr(part, "text") for part in content or ()):
                raise MalformedExample(f"{name}: its prompt holds more than text", "a prompt with more than text")
            content = "\n".join(part.text for part in content or ())
        if role != ("user" if last else "system"):
            raise MalformedExample(f"{name}: its prompt is a conversation", "a conversation")
        texts.append(content)
    if not messages:
        raise MalformedExample(f"{name}: it has no prompt", "no prompt")
    return "\n\n".join(text for text in texts if text)
