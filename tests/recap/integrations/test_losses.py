"""`weighted_sum`, against the policy driven by hand and gradients worked out by hand.

Started by torchrun, this file runs its steps on two processes: `torchrun ... test_losses.py OUTPUT`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from recap.integrations.losses import weighted_sum
from registry import reweighting_policies
from registry.reweighting.gradnorm import GradNorm
from registry.reweighting.recap import Recap
from registry.reweighting.rlw import RandomLossWeighting
from registry.reweighting.static import Static
from registry.reweighting.uniform import Uniform
from tests.processes import torchrun


def losses_of(x: Tensor, step: int) -> dict[str, Tensor]:
    """Two conflicting losses, with noise that depends on the step alone."""
    noise = 0.3 * (step * 7 % 5)
    return {"left": (x + 3).square().mean() + noise, "right": (x - 1).abs().mean() + 0.1}


def test_the_loss_and_its_gradient_by_hand() -> None:
    x = torch.tensor([1.0], requires_grad=True)
    policy = Static(["a", "b"], weights={"a": 3, "b": 1})  # λ = 1.5, 0.5
    loss = weighted_sum({"a": 2 * x.sum(), "b": x.square().sum()}, policy)
    loss.backward()
    assert loss.item() == pytest.approx((1.5 * 2 + 0.5 * 1) / 2)
    assert x.grad is not None
    assert x.grad.item() == pytest.approx((1.5 * 2 + 0.5 * 2) / 2)


def test_an_absent_objective_takes_nothing_from_the_others() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    assert weighted_sum({"a": 3 * x}, Uniform(["a", "b"])).item() == 3.0


NEED_MORE = {"gradnorm", "schedule", "replayed"}  # gradient norms; a course set by hand, or recorded


@pytest.mark.parametrize("name", [name for name in reweighting_policies.names() if name not in NEED_MORE])
def test_a_loop_gives_the_weights_of_the_policy_driven_by_hand(name: str) -> None:
    ours, by_hand = (reweighting_policies.build(name, ["left", "right"]) for _ in range(2))
    x = torch.tensor([4.0, -9.0], requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.05)
    for step in range(40):
        losses = losses_of(x, step)
        values = {name: loss.item() for name, loss in losses.items()}
        if by_hand.same_step:
            by_hand.update(values)
        lam = by_hand.weights
        if not by_hand.same_step:
            by_hand.update(values)
        total = weighted_sum(losses, ours)
        assert total.item() == pytest.approx(sum(lam[k] * values[k] for k in values) / 2, rel=1e-6)
        assert ours.weights == by_hand.weights
        optimizer.zero_grad()
        total.backward()
        optimizer.step()


def test_micro_batches_that_do_not_update() -> None:
    policy = RandomLossWeighting(["a"])
    before = policy.state_dict()
    weighted_sum({"a": torch.tensor(1.0)}, policy, update=False)
    assert policy.state_dict() == before


def test_gradient_norms_are_those_of_the_shared_parameters() -> None:
    shared, head = torch.tensor([3.0, 4.0], requires_grad=True), torch.tensor(2.0, requires_grad=True)
    losses = {"a": (shared.square().sum() / 2), "b": (head * shared[0])}  # norms 5 and 2
    policy, by_hand = GradNorm(["a", "b"]), GradNorm(["a", "b"])
    weighted_sum(losses, policy, parameters=[shared]).backward()
    by_hand.observe_gradient_norms({"a": 5.0, "b": 2.0})
    by_hand.update({"a": 12.5, "b": 6.0})
    assert policy.weights == pytest.approx(by_hand.weights)
    assert policy.weights != {"a": 1.0, "b": 1.0}
    assert head.grad is not None


def test_what_cannot_be_weighted_is_refused() -> None:
    one = {"a": torch.tensor(1.0)}
    with pytest.raises(ValueError, match="no loss"):
        weighted_sum({}, Uniform(["a"]))
    with pytest.raises(ValueError, match="'b'; known: a"):
        weighted_sum({"b": torch.tensor(1.0)}, Uniform(["a"]))
    with pytest.raises(ValueError, match=r"'a' must be a scalar; its shape is \(2,\)"):
        weighted_sum({"a": torch.ones(2)}, Uniform(["a"]))
    with pytest.raises(ValueError, match=r"'a' \(reward\)"):
        weighted_sum(one, Recap({"a": "reward"}))
    with pytest.raises(ValueError, match="shared `parameters`"):
        weighted_sum(one, GradNorm(["a"]))


def run_steps(rank: int, processes: int) -> dict[str, object]:
    """Thirty steps; the first process has an objective that the second lacks, and both differ in another."""
    policy = Recap(["both", "first"], window=3, temperature=0.5)
    seen = []
    for step in range(30):
        losses = {"both": torch.tensor(1.0 + rank + step % 4, dtype=torch.float64, requires_grad=True)}
        if rank == 0:
            losses["first"] = torch.tensor(5.0 / (1 + step), dtype=torch.float64, requires_grad=True)
        weighted_sum(losses, policy)
        seen.append(policy.weights)
    return {"weights": seen, "processes": processes}


def test_two_processes_hold_the_weights_of_the_mean(tmp_path: Path) -> None:
    done = torchrun(__file__, str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first["processes"] == 2
    by_hand = Recap(["both", "first"], window=3, temperature=0.5)
    for step, weights in enumerate(first["weights"]):
        by_hand.update({"both": 1.5 + step % 4, "first": 5.0 / (1 + step)})
        assert weights == pytest.approx(by_hand.weights, rel=1e-12)


if __name__ == "__main__":
    from torch import distributed as dist

    dist.init_process_group("gloo")
    found = run_steps(dist.get_rank(), dist.get_world_size())
    Path(sys.argv[1], f"{dist.get_rank()}.json").write_text(json.dumps(found))
    dist.destroy_process_group()
