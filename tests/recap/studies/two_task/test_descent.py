"""Many trajectories at once against one after the other, with autograd and torch's Adam."""

from __future__ import annotations

import numpy as np
import torch

from recap.studies.two_task.descent import descend
from recap.studies.two_task.methods import Method
from recap.studies.two_task.problem import STARTS, Array, TwoTask
from registry import reweighting_policies

STEPS = 60


class TorchTwoTask(torch.autograd.Function):
    """The losses as a torch function, so that `backward` of a weighted sum takes the gradient."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(torch.from_numpy(TwoTask().gradients(x.detach().numpy())))
        return torch.from_numpy(TwoTask().losses(x.detach().numpy()))

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        return upstream @ ctx.saved_tensors[0]


def one_by_one(start: tuple[float, float], noise: Array) -> Array:
    """RECAP as a user would write it: L = (1/K) Σ λ_k L_k, backward, Adam, then report the noisy losses."""
    policy = reweighting_policies.build("recap", objectives=["L1", "L2"])
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([x], lr=1e-2)
    positions = [x.detach().numpy().copy()]
    for epsilon in noise:
        losses = TorchTwoTask.apply(x)
        lam = policy.weights
        adam.zero_grad()
        ((lam["L1"] * losses[0] + lam["L2"] * losses[1]) / 2).backward()
        adam.step()
        policy.update({"L1": losses[0].item() + 3 * float(epsilon), "L2": losses[1].item()})
        positions.append(x.detach().numpy().copy())
    return np.stack(positions)


def test_all_trajectories_are_what_each_is_alone() -> None:
    noise = np.random.default_rng(1).standard_normal((STEPS, len(STARTS)))
    rule = Method("recap", "policy", "recap").start(range(len(STARTS)))
    positions, seconds = descend(TwoTask(), rule, np.array(STARTS), noise)
    assert seconds > 0
    for index, start in enumerate(STARTS):
        np.testing.assert_allclose(positions[:, index], one_by_one(start, noise[:, index]), rtol=1e-9, atol=1e-9)


def test_noise_reaches_the_weights_and_nothing_else() -> None:
    quiet, loud = np.zeros((STEPS, 5)), np.random.default_rng(0).standard_normal((STEPS, 5))

    def run(part: str, noise: Array) -> Array:
        return descend(TwoTask(), Method(part, "policy", part).start(range(5)), np.array(STARTS), noise)[0]

    np.testing.assert_array_equal(run("uniform", quiet), run("uniform", loud))
    assert np.abs(run("recap", quiet) - run("recap", loud)).max() > 1e-4
