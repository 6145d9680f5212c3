"""Replayed: the weights of another run, the control that takes the feedback out of reweighting."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from registry import reweighting_policies
from registry.reweighting.base import ReweightingPolicy, SignalKind
from registry.reweighting.numerics import require, require_state
from registry.reweighting.record import Weights, read_weights, with_another_seed
from registry.shipped import located

Order = Literal["recorded", "permuted", "shuffled", "mean"]
ORDERS: tuple[Order, ...] = ("recorded", "permuted", "shuffled", "mean")


@reweighting_policies.register("replayed")
class Replayed(ReweightingPolicy):
    """Weights objectives as another run did, whatever happens in this one: a control without feedback.

    Step t of this run gets the λ that step t of the recorded run was taken with; past its end the last ones stay. `order`
    says to whom they go:

        recorded  each objective gets its own. From a run with another seed this is the yoked control: the same course of
                  weights, but not in answer to this run
        permuted  each gets those of one other objective, the same throughout: the right course for the wrong objectives
        shuffled  at every step all of them are handed out anew at random: weights of exactly the recorded spread that
                  know nothing of the objectives. Unlike the recorded ones they jump from step to step
        mean      each gets the average of its own over the recorded steps: what a good hand-set constant would do

    If the feedback does the work, the recorded run is better than all of them. If the course does, `recorded` is as good
    as it, if the constants do, `mean` is, and if any weights at all, `shuffled`.

    Source: ours, after the yoked control of animal learning (Church 1964). The weights have mean 1 where the recorded ones
    had; those of `recap_released` have not.

    Args:
        objectives: names, or a mapping name -> signal kind.
        run: the directory of a run, or its `weights.jsonl`, or one that travels with the project; or a folder of a sweep with
            runs ``seed-0``, ``seed-1``, ...: a run with seed s replays that of the next seed. It must have had the same
            objectives.
        order: 'recorded', 'permuted', 'shuffled' or 'mean'.
        permutation: of 'permuted': objective -> the objective whose weights it gets; None: one drawn by `seed` in which
            none keeps its own.
        seed: >= 0, of 'permuted' and 'shuffled'. None: that of the run.

    Raises:
        ValueError: no record there, one of other objectives, or a parameter out of its range.
    """

    mean_one: ClassVar[bool] = False

    def __init__(
        self,
        objectives: Iterable[str] | Mapping[str, SignalKind],
        run: str,
        order: Order = "recorded",
        permutation: Mapping[str, str] | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(objectives)
        require(order in ORDERS, "replayed", "order", f"be one of {', '.join(ORDERS)}", order)
        holds = seed is None or (isinstance(seed, int) and seed >= 0)
        require(holds, "replayed", "seed", "be None or an integer >= 0", seed)
        require(
            permutation is None or order == "permuted", "replayed", "permutation", "go with 'permuted'", permutation
        )
        self.order: Order = order
        self.seed = seed or 0
        self._seed_is_given = seed is not None
        self._permutation = permutation
        self._run = run
        self._step = 0
        self._prepare(None)

    def take_seed(self, seed: int) -> None:
        if not self._seed_is_given:
            self.seed = seed
        self._prepare(seed)

    def _prepare(self, seed: int | None) -> None:
        """Reads the course, which in a folder of runs depends on the seed of this one."""
        course = read_weights(with_another_seed(located(self._run), seed))
        if set(course[0]) != set(self.objectives):
            raise ValueError(
                f"replayed: the run recorded in {self._run} weighs {', '.join(sorted(course[0]))}; this experiment has"
                f" {', '.join(sorted(self.objectives))}: both need the same objectives (train.domains,"
                " train.objective_scope)"
            )
        self._course = [_mean(course)] if self.order == "mean" else course
        self._source = self._sources()

    def update(self, signals: Mapping[str, float]) -> None:
        """Goes on to the next recorded step; what the signals are does not matter."""
        self.check_known(signals)
        self._step += 1

    @property
    def weights(self) -> dict[str, float]:
        recorded = self._course[min(self._step, len(self._course) - 1)]
        source = self._source
        if self.order == "shuffled":
            drawn = list(self.objectives)
            random.Random(self.seed << 64 | self._step).shuffle(drawn)
            source = dict(zip(self.objectives, drawn, strict=True))
        return {name: recorded[source[name]] for name in self.objectives}

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        require_state("replayed", state, ("step",))
        self._step = state["step"]

    def _sources(self) -> dict[str, str]:
        """Objective -> the one whose recorded weights it gets."""
        if self.order != "permuted":
            return dict(zip(self.objectives, self.objectives, strict=True))
        return self._derangement() if self._permutation is None else self._checked(self._permutation)

    def _checked(self, permutation: Mapping[str, str]) -> dict[str, str]:
        whole = set(permutation) == set(permutation.values()) == set(self.objectives)
        require(
            whole, "replayed", "permutation", f"map {', '.join(self.objectives)} onto themselves", dict(permutation)
        )
        return dict(permutation)

    def _derangement(self) -> dict[str, str]:
        """Every objective -> another one, drawn among all such permutations alike."""
        if len(self.objectives) < 2:
            raise ValueError("replayed: 'permuted' needs at least two objectives; this experiment has one")
        rng, drawn = random.Random(self.seed), list(self.objectives)
        while any(own == other for own, other in zip(self.objectives, drawn, strict=True)):
            rng.shuffle(drawn)
        return dict(zip(self.objectives, drawn, strict=True))


def _mean(course: Sequence[Weights]) -> Weights:
    return {name: math.fsum(step[name] / len(course) for step in course) for name in course[0]}
