"""Whether a run is long enough for its weights to move at all."""

from __future__ import annotations

from recap.experiment.experiment import Experiment
from registry import reweighting_policies


def weights_that_stay(experiment: Experiment) -> list[str]:
    """A note where the run ends before its policy can move a weight; else nothing."""
    policy, steps = experiment.build_reweighting(), experiment.steps
    first = policy.warm_up + (0 if policy.same_step else 1)  # the step, from 1, whose weights may differ
    if not policy.warm_up or steps >= first:
        return []
    name = next((entry.name for entry in reweighting_policies.entries() if entry.original is type(policy)), None)
    called, window = name or type(policy).__name__, getattr(policy, "window", None)
    of = ""
    if window is not None and policy.warm_up == 2 * window:
        of = f", its two windows of reweighting.{called}.window = {window},"
    kept = "uniform" if len(set(policy.weights.values())) == 1 else "what they are at the start"
    return [
        f"{called} needs the signals of {policy.warm_up} steps{of} before it moves a weight, and the run has {steps}: the"
        f" weights stay {kept} throughout. They can move in a run of {first} steps or more (train.steps)"
        + (f", or with a window of {(steps - 1) // 2} or less" if of and steps > 2 else "")
    ]
