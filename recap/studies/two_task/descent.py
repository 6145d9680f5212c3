"""Adam on all trajectories at once."""

from __future__ import annotations

import time

import numpy as np
import torch

from recap.studies.two_task.methods import Rule
from recap.studies.two_task.problem import NOISE, Array, TwoTask

LEARNING_RATE = 1e-2


def descend(problem: TwoTask, rule: Rule, starts: Array, noise: Array) -> tuple[Array, float]:
    """Follows the rule's direction with Adam from each start.

    Adam works on each number alone, so one optimizer over [n, 2] is n optimizers.

    Args:
        problem: the losses.
        rule: made for n trajectories.
        starts: [n, 2].
        noise: [steps, n], standard normal; `NOISE` times it is added to the value of L1 that the rule sees, and to
            nothing else.

    Returns:
        positions: [steps + 1, n, 2], and the CPU seconds that the rule took per step and trajectory.
    """
    x = torch.tensor(starts, dtype=torch.float64)
    here = x.numpy()  # the same memory
    adam = torch.optim.Adam([x], lr=LEARNING_RATE)
    positions = np.empty((len(noise) + 1, *here.shape))
    positions[0] = here
    seconds = 0.0
    for step, epsilon in enumerate(noise):
        losses, gradients = problem.losses(here), problem.gradients(here)
        losses[:, 0] += NOISE * epsilon
        began = time.thread_time()
        direction = rule.direction(losses, gradients)
        seconds += time.thread_time() - began
        x.grad = torch.from_numpy(direction)
        adam.step()
        positions[step + 1] = here
    return positions, seconds / noise.size
