"""The policies that look at the size of the losses: contract, and each formula written down again with torch or numpy."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import reweighting_policies
from registry.testing import check_reweighting_policy

NAMES = ["dwa", "famo", "gradnorm", "rlw", "scale_invariant", "uw"]
courses = st.lists(st.tuples(*[st.floats(0.1, 5)] * 3), min_size=2, max_size=15)
OBJECTIVES = ["a", "b", "c"]


def build(name, **parameters):
    return reweighting_policies.build(name, objectives=OBJECTIVES, **parameters)


def run(policy, course):
    """Weights after each update, [steps, K]."""
    found = []
    for values in course:
        policy.update(dict(zip(OBJECTIVES, values, strict=True)))
        found.append(list(policy.weights.values()))
    return np.array(found)


@pytest.mark.parametrize("name", NAMES)
def test_contract(name):
    check_reweighting_policy(lambda objectives: reweighting_policies.build(name, objectives=objectives))


@pytest.mark.parametrize("name", NAMES)
def test_a_reward_counts_as_its_shortfall(name):
    rewards = reweighting_policies.build(name, objectives={"a": "reward", "b": "loss"})
    losses = reweighting_policies.build(name, objectives={"a": "loss", "b": "loss"})
    for a, b in [(0.25, 1.0), (0.5, 0.5), (0.75, 0.75)]:
        for policy, value in ((rewards, a), (losses, 1 - a)):
            if policy.needs_gradient_norms:
                policy.observe_gradient_norms({"a": 2.0, "b": 1.0})
            policy.update({"a": value, "b": b})
    assert rewards.weights == losses.weights


@pytest.mark.parametrize("name", NAMES)
def test_a_state_of_another_policy_is_refused(name):
    with pytest.raises(ValueError, match=f"not a state of {name}: it holds"):
        build(name).load_state_dict({"history": {}})


@pytest.mark.parametrize("name", [name for name in NAMES if name != "rlw"])  # whose numbers are of no objective
@pytest.mark.parametrize("objectives", [["a", "b", "d"], {"a": "loss", "b": "loss", "c": "reward"}])
def test_a_state_of_other_objectives_is_refused(name, objectives):
    other = reweighting_policies.build(name, objectives=objectives)
    with pytest.raises(ValueError, match=r"the state is of objectives .*, but this policy was built with"):
        build(name).load_state_dict(other.state_dict())


@settings(max_examples=50, deadline=None)
@given(courses)
def test_scale_invariant_is_the_gradient_of_the_sum_of_logarithms(course):
    losses = torch.tensor(course[-1], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.log().sum(), losses)
    assert run(build("scale_invariant"), course)[-1] == pytest.approx((3 * gradient / gradient.sum()).numpy(), rel=1e-9)


def test_scale_invariant_does_not_depend_on_the_units():
    one, other = build("scale_invariant"), build("scale_invariant")
    one.update({"a": 1.0, "b": 2.0, "c": 4.0})
    other.update({"a": 1e3, "b": 2e3, "c": 4e3})
    assert one.weights == pytest.approx(other.weights)
    assert one.weights["a"] == pytest.approx(2 * one.weights["b"])


@settings(max_examples=50, deadline=None)
@given(courses, st.floats(0.5, 10))
def test_dwa(course, temperature):
    found = run(build("dwa", temperature=temperature), course)
    assert found[0].tolist() == [1.0, 1.0, 1.0]
    change = np.minimum(np.array(course[-1]) / np.array(course[-2]), 10.0)
    exponentials = np.exp(change / temperature)
    assert found[-1] == pytest.approx(3 * exponentials / exponentials.sum(), rel=1e-9)


def test_dwa_of_losses_below_zero_still_prefers_what_rises():
    policy = build("dwa")
    for values in [(-2.0, -2.0, 0.0), (-1.0, -4.0, 0.0)]:
        policy.update(dict(zip(OBJECTIVES, values, strict=True)))
    assert policy.diagnostics["change"] == {"a": 1.5, "b": 0.0, "c": 1.0}


@settings(max_examples=30, deadline=None)
@given(courses)
def test_uw_learns_its_variances_as_torch_would(course):
    s = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([s], lr=0.05)
    for values in course:
        optimizer.zero_grad()
        ((-s).exp() * torch.tensor(values, dtype=torch.float64) / 2 + s / 2).sum().backward()
        optimizer.step()
    precision = (-s).exp().detach().numpy()
    assert run(build("uw", learning_rate=0.05), course)[-1] == pytest.approx(3 * precision / precision.sum(), rel=1e-6)


def test_uw_comes_to_rest_where_the_variance_is_the_loss():
    policy = build("uw", learning_rate=0.05)
    run(policy, [(0.5, 1.0, 4.0)] * 2000)
    variance = {name: math.exp(s) for name, s in policy.diagnostics["log_variance"].items()}
    assert variance == pytest.approx({"a": 0.5, "b": 1.0, "c": 4.0}, rel=0.02)


@settings(max_examples=30, deadline=None)
@given(courses)
def test_famo_as_torch_would(course):
    """Algorithm 1 with autograd for the Jacobian, on the losses of two steps."""
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.025, weight_decay=0.01)
    losses = torch.tensor(course, dtype=torch.float64) + 1e-8
    for before, after in itertools.pairwise(losses):
        optimizer.zero_grad()
        torch.softmax(logits, 0).backward(before.log() - after.log())
        optimizer.step()
    z = torch.softmax(logits, 0).detach() / losses[-1]
    assert run(build("famo"), course)[-1] == pytest.approx((3 * z / z.sum()).numpy(), rel=1e-6)


def test_famo_leaves_an_absent_objective_alone():
    """Step for step what FAMO does with the others by themselves; the absent one keeps its ξ."""
    policy = build("famo")
    run(policy, [(1.0, 2.0, 3.0), (0.5, 1.9, 3.0)])
    pair = reweighting_policies.build("famo", objectives=["a", "b"])
    full = policy.state_dict()
    pair.load_state_dict(
        {key: {name: full[key][name] for name in ("a", "b")} for key in full}  # the state as if there were no c
    )
    kept = policy.diagnostics["logit"]["c"]
    for signals in ({"a": 0.4, "b": 1.0}, {"a": 0.3, "b": 1.5}):
        policy.update(signals)
        pair.update(signals)
    assert policy.diagnostics["logit"] == {**pair.diagnostics["logit"], "c": kept}
    assert kept != 0


def test_famo_moves_towards_the_objective_that_falls_more_slowly():
    policy = build("famo")
    run(policy, [(0.9**t, 0.99**t, 0.999**t) for t in range(200)])
    logits = policy.diagnostics["logit"]
    assert logits["a"] < logits["b"] < logits["c"]


def test_famo_bound_follows_losses_below_it():
    policy = build("famo", lower_bound=-1.0)
    found = run(policy, [(1.0, 1.0, 1.0), (-3.0, 1.0, 1.0), (-1.0, 1.0, 1.0)])
    assert found[0] == pytest.approx([1, 1, 1])
    assert found[1].argmax() == 0  # at its smallest
    assert np.isfinite(found).all()


@settings(max_examples=30, deadline=None)
@given(courses, courses)
def test_gradnorm_as_torch_would(course, norms):
    """Equations 1 and 2 with autograd for the gradient of λ."""
    policy = build("gradnorm", restoring_force=1.5)
    lam = torch.ones(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([lam], lr=0.025)
    first = torch.tensor(course[0], dtype=torch.float64)
    for values, sizes in zip(course, norms, strict=False):
        policy.observe_gradient_norms(dict(zip(OBJECTIVES, sizes, strict=True)))
        policy.update(dict(zip(OBJECTIVES, values, strict=True)))
        size = lam * torch.tensor(sizes, dtype=torch.float64)
        remaining = (torch.tensor(values, dtype=torch.float64) / first).clamp(max=10)
        target = (size.mean() * (remaining / remaining.mean()) ** 1.5).detach()
        optimizer.zero_grad()
        (size - target).abs().sum().backward()
        optimizer.step()
        with torch.no_grad():
            lam.mul_(3 / lam.sum())
        assert list(policy.weights.values()) == pytest.approx(lam.detach().numpy(), rel=1e-6)


def test_gradnorm_makes_the_gradients_alike():
    policy = build("gradnorm")
    for _ in range(300):
        policy.observe_gradient_norms({"a": 1.0, "b": 2.0, "c": 4.0})
        policy.update({"a": 1.0, "b": 1.0, "c": 1.0})
    sizes = [policy.weights[name] * norm for name, norm in (("a", 1.0), ("b", 2.0), ("c", 4.0))]
    assert max(sizes) / min(sizes) < 1.1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_gradnorm_leaves_an_objective_without_a_usable_norm_alone(bad):
    policy = build("gradnorm")
    policy.observe_gradient_norms({"a": 1.0, "b": 2.0, "c": bad})
    policy.update({"a": 1.0, "b": 1.0, "c": 1.0})
    weights = policy.weights
    moved = {name: (1.025 if name == "a" else 0.975 if name == "b" else 1.0) for name in OBJECTIVES}
    assert weights == pytest.approx(moved)  # Adam's first step is its learning rate; the sum is 3 as it is


def test_gradnorm_without_norms_stays():
    policy = build("gradnorm")
    policy.update({"a": 1.0, "b": 5.0, "c": 9.0})
    assert set(policy.weights.values()) == {1.0}


def test_rlw_is_the_softmax_of_normal_numbers():
    found = run(build("rlw", seed=3), [(1.0, 1.0, 1.0)] * 4000)
    logarithms = np.log(found)
    # z_a - z_b is normal with variance 2
    difference = logarithms[:, 0] - logarithms[:, 1]
    assert difference.mean() == pytest.approx(0, abs=0.1)
    assert difference.var() == pytest.approx(2, rel=0.1)
    assert np.abs(np.corrcoef(difference[:-1], difference[1:])[0, 1]) < 0.05


def test_rlw_follows_its_seed():
    course = [(1.0, 2.0, 3.0)] * 3
    assert (run(build("rlw", seed=1), course) == run(build("rlw", seed=1), course)).all()
    assert (run(build("rlw", seed=1), course) != run(build("rlw", seed=2), course)).all()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("dwa", {"temperature": 0.0}),
        ("famo", {"gamma": -1.0}),
        ("famo", {"lower_bound": math.nan}),
        ("gradnorm", {"learning_rate": 0.0}),
        ("gradnorm", {"restoring_force": -1.0}),
        ("gradnorm", {"restoring_force": 11.0}),
        ("rlw", {"seed": -1}),
        ("uw", {"learning_rate": math.inf}),
    ],
)
def test_parameters_outside_their_range(name, parameters):
    with pytest.raises(ValueError, match=f"{name}: {next(iter(parameters))} must be"):
        build(name, **parameters)
