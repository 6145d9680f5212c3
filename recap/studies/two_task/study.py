"""The two-task study: all methods from all starts with all seeds, in parallel processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pebble import ProcessExpired, ProcessPool

from recap.studies.two_task.descent import descend
from recap.studies.two_task.front import pareto_front
from recap.studies.two_task.measures import Measures, measure
from recap.studies.two_task.methods import Method
from recap.studies.two_task.problem import STARTS, Array, Functions, TwoTask
from registry import load_entry_points, load_plugin

DRAWN_EVERY = 10


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Args: functions: of `TwoTask`. steps: of Adam, >= 1. seeds: of the noise, >= 1; every method meets the same noise.

    Raises:
        ValueError: no steps or no seeds.
    """

    functions: Functions = "printed"
    steps: int = 10_000
    seeds: int = 10

    def __post_init__(self) -> None:
        TwoTask(self.functions)
        for name in ("steps", "seeds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def noise(self) -> Array:
        """[steps, seeds], standard normal; a seed's noise depends on neither the other seeds nor the method."""
        return np.stack([np.random.default_rng(seed).standard_normal(self.steps) for seed in range(self.seeds)], axis=1)


@dataclass(frozen=True)
class Outcome:
    """What became of one method.

    Attributes:
        seeds: that were run; 1 where seeds make no difference.
        measures: of each start's seeds, in the order of `STARTS`.
        drawn: [points, starts, 2], every `DRAWN_EVERY`-th position of the first seed.
        seconds_per_step: CPU time of the method itself for one trajectory, without losses and Adam.
        weight_spread: largest minus smallest weight, mean over all steps; NaN for a gradient method.
    """

    method: Method
    seeds: int
    measures: tuple[Measures, ...]
    drawn: Array
    seconds_per_step: float
    weight_spread: float


def run_method(method: Method, settings: Settings) -> Outcome:
    """All starts and seeds of one method, in this process.

    Raises:
        RuntimeError: the method failed; its name and the reason.
    """
    problem = TwoTask(settings.functions)
    noise = settings.noise()[:, : 1 if method.deterministic else None]
    seeds = noise.shape[1]
    try:
        rule = method.start(list(range(seeds)) * len(STARTS))
        positions, seconds = descend(problem, rule, np.repeat(STARTS, seeds, axis=0), np.tile(noise, len(STARTS)))
    except Exception as error:  # of a plugin or a solver: one method must not take the others with it
        raise RuntimeError(f"{method.name} failed: {type(error).__name__}: {error}") from error
    front = pareto_front(problem)
    losses = problem.losses(positions)
    measures = (measure(front, losses[:, seeds * start : seeds * (start + 1)]) for start in range(len(STARTS)))
    drawn = positions[::DRAWN_EVERY, ::seeds]
    return Outcome(method, seeds, tuple(measures), drawn, seconds, rule.weight_spread)


def run_methods(
    methods: Sequence[Method], settings: Settings, *, workers: int = 1, plugins: Sequence[str] = ()
) -> Iterator[Outcome | RuntimeError]:
    """The outcome of each method in the given order, or why it failed; results do not depend on `workers`.

    Args:
        workers: processes; 1 works in this one.
        plugins: Python files that the processes load first.
    """
    if workers == 1:
        yield from (_outcome_or_error(method, settings) for method in methods)
        return
    context = multiprocessing.get_context("spawn")  # torch does not survive a fork once it has threads
    with ProcessPool(workers, initializer=_prepare, initargs=(tuple(plugins),), context=context) as pool:
        # Some gradient methods solve a problem in every step and take longest: they go first.
        queue = sorted(range(len(methods)), key=lambda index: methods[index].group != "gradient method")
        futures = {index: pool.schedule(_outcome_or_error, args=(methods[index], settings)) for index in queue}
        for index, method in enumerate(methods):
            try:
                yield futures[index].result()
            except ProcessExpired as error:  # killed, or crashed in a solver's compiled code
                yield RuntimeError(f"{method.name} failed: its process ended, exit code {error.exitcode}")


def _outcome_or_error(method: Method, settings: Settings) -> Outcome | RuntimeError:
    try:
        return run_method(method, settings)
    except RuntimeError as error:
        return RuntimeError(str(error))  # without its cause, which may not survive the way between processes


def _prepare(plugins: tuple[str, ...]) -> None:
    import torch

    torch.set_num_threads(1)
    load_entry_points()
    for plugin in plugins:
        load_plugin(plugin)
