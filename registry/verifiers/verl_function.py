"""A reward function written for verl, as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry import verifiers
from registry.example import Example
from registry.verifiers.base import Verifier
from registry.verifiers.user_functions import Scale, call, check_path, check_scale, load_function, scaled

NAME = "verifiers.verl_function"


@verifiers.register("verl_function")
class VerlFunction(Verifier):
    """Calls a reward function written for verl: ``compute_score(data_source, solution_str, ground_truth, extra_info)``.

    As verl's reward managers call it: by keyword, a completion at a time; it gives a number, or a mapping whose ``score`` is
    one (its other entries are not used). From a row as verl publishes them, ``data_source``, ``extra_info`` and
    ``reward_model['ground_truth']`` are read from `metadata`; without them the reference is the ground truth, and all of the
    metadata the extra info. It runs in a worker process under the time limit, never in the training process.

    >>> example = Example(id="1", question="2 + 2?", answer="4", metadata={"data_source": "sums"})
    >>> judge = VerlFunction("registry.verifiers.verl_function:example_score", scale=(-1, 1))
    >>> judge("It is 4", example), judge("It is 5", example)
    (1.0, 0.0)

    Args:
        function: ``file.py:name``, from the folder of the run, or ``package.module:name``.
        scale: (lowest, highest) reward that it gives, mapped to 0 and 1; None: it gives [0, 1] itself.
        data_source: what a row without one is said to come from.

    Raises:
        ValueError: a function that is not there, a scale that is none; at a call, a mapping without ``score``.
        RewardOutOfRange: a reward outside `scale`.
    """

    def __init__(self, function: str, scale: Scale | None = None, data_source: str = "recap") -> None:
        self.function = check_path(function, f"{NAME}.function")
        self.scale = check_scale(scale, f"{NAME}.scale")
        self.data_source = data_source

    def prepare(self) -> None:
        load_function(self.function)

    def __call__(self, completion: str, example: Example) -> float | None:
        row = example.metadata
        judged_by = row.get("reward_model")
        truth = judged_by.get("ground_truth") if isinstance(judged_by, Mapping) else row.get("ground_truth")
        score: Any = call(
            load_function(self.function),
            data_source=row.get("data_source", self.data_source),
            solution_str=completion,
            ground_truth=example.answer if truth is None else truth,
            extra_info=row.get("extra_info", dict(row)),
        )
        if isinstance(score, Mapping):
            if "score" not in score:
                raise ValueError(f"{self.function} returned a mapping without 'score': {', '.join(map(str, score))}")
            score = score["score"]
        return scaled(score, self.scale, f"{NAME}.scale")


def example_score(data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None) -> float:
    """A function as verl takes them, for the example above: 1 where the last word is right, otherwise -1."""
    return 1.0 if solution_str.split()[-1:] == [ground_truth] else -1.0
