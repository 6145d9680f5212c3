"""A signal is a mean over domains, whoever has how many prompts, and whoever's turn it is."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from recap.data.domains import Domain
from recap.data.objectives import Objective
from recap.experiment.config import LoadedConfig
from recap.learning.loss import StepCounts, mean_losses
from recap.learning.signals import Signals
from recap.learning.trainer import Trainer
from registry.example import Example
from registry.reweighting.base import SignalKind
from registry.reweighting.recap import Recap

DOMAINS = [cast(Domain, SimpleNamespace(name=name)) for name in ("sums", "boxes", "words")]
OBJECTIVES = [Objective("accuracy", False, ("sums", "boxes")), Objective("next_token", True, ("words", "sums"))]


def signals_of(kind: SignalKind = "reward") -> Signals:
    return Signals(DOMAINS, OBJECTIVES, {"accuracy": kind, "next_token": "loss"})


def counted(*items: tuple[float, float]) -> StepCounts:
    """Items of each domain, by objective; a unit is half an item."""
    table = torch.tensor(items)
    return StepCounts(table / 2, table)


def table(*rows: tuple[float, float]) -> Tensor:
    return torch.tensor(rows)


def test_domains_weigh_the_same_however_many_completions_they_have() -> None:
    """Three of four sums are right, one of two boxes: 0.625, not 4 of 6. Losses 3 and 1 over 2 and 4 units, mean 0.875."""
    counts = counted((4, 4), (2, 0), (0, 8))
    losses = table((0.0, 3.0), (0.0, 0.0), (0.0, 1.0))
    rewards = table((3.0, 0.0), (1.0, 0.0), (0.0, 0.0))
    assert signals_of()(counts, losses, rewards) == pytest.approx({"accuracy": 0.625, "next_token": 0.875})
    assert signals_of("shortfall")(counts, losses, rewards)["accuracy"] == pytest.approx(0.375)


@given(st.integers(1, 400), st.lists(st.floats(0, 400, width=32), min_size=3, max_size=3))
def test_where_domains_are_equally_large_nothing_differs_from_the_mean_over_completions(
    each: int, sums: list[float]
) -> None:
    """To the last digit."""
    counts, rewards = counted((each, 0), (each, 0), (each, 0)), table(*((value, 0.0) for value in sums))
    found = signals_of()(counts, torch.zeros(3, 2), rewards)["accuracy"]
    assert found == float(rewards[:, 0].sum() / counts.items[:, 0].sum())


def test_the_loss_signal_of_a_step_that_holds_all_is_that_of_the_loss() -> None:
    counts, losses = counted((4, 6), (2, 0), (0, 9)), table((1.0, 3.0), (0.5, 0.0), (0.0, 1.0))
    found = signals_of("loss")(counts, losses, torch.zeros(3, 2))
    for k, name in enumerate(("accuracy", "next_token")):
        assert found[name] == float(mean_losses(losses, counts)[k]) * 3 / 2


def turns(steps: int) -> list[dict[str, float]]:
    """Domains take turns; sums are always right in 0.9 of all cases, boxes in 0.1; the losses of words and sums are 4 and 1."""
    signals, found = signals_of(), []
    for step in range(steps):
        if step % 2:
            found.append(
                signals(
                    counted((0, 0), (10, 0), (0, 6)), table((0, 0), (0, 0), (0, 12.0)), table((0, 0), (1, 0), (0, 0))
                )
            )
        else:
            found.append(
                signals(
                    counted((10, 6), (0, 0), (0, 0)), table((0, 3.0), (0, 0), (0, 0)), table((9, 0), (0, 0), (0, 0))
                )
            )
    return found


def test_a_signal_does_not_say_whose_turn_it_is() -> None:
    first, *others = turns(8)
    assert first == pytest.approx({"accuracy": 0.9, "next_token": 1.0})
    for signals in others:
        assert signals == pytest.approx({"accuracy": 0.5, "next_token": 2.5})
    policy = Recap({"accuracy": "reward", "next_token": "loss"}, window=3)
    for signals in others[-6:]:
        policy.update(signals)
    assert policy.diagnostics["instability"] == pytest.approx({"accuracy": 0, "next_token": 0}, abs=1e-6)
    assert policy.diagnostics["convergence"] == pytest.approx({"accuracy": 1, "next_token": 1})


def test_an_objective_that_the_step_did_not_hold_has_no_signal() -> None:
    signals = signals_of()
    signals(counted((4, 4), (2, 0), (0, 8)), torch.ones(3, 2), torch.ones(3, 2))
    assert signals(counted((0, 0), (0, 0), (0, 8)), torch.ones(3, 2), torch.ones(3, 2)).keys() == {"next_token"}


def test_what_is_not_finite_is_reported_and_not_remembered() -> None:
    signals, nothing = signals_of(), torch.zeros(3, 2)
    both, boxes = counted((2, 0), (2, 0), (0, 0)), counted((0, 0), (2, 0), (0, 0))
    signals(both, nothing, table((2.0, 0), (2.0, 0), (0, 0)))
    broken = signals(both, nothing, table((float("nan"), 0), (2.0, 0), (0, 0)))
    assert broken["accuracy"] != broken["accuracy"]
    assert signals(boxes, nothing, table((0, 0), (1.0, 0), (0, 0)))["accuracy"] == pytest.approx(0.75)


def test_state_goes_on_where_it_was() -> None:
    signals, resumed = signals_of(), signals_of()
    first = counted((4, 4), (0, 0), (0, 8)), torch.ones(3, 2), torch.ones(3, 2)
    second = counted((0, 0), (2, 0), (0, 8)), 2 * torch.ones(3, 2), torch.ones(3, 2)
    signals(*first)
    state = json.loads(json.dumps(signals.state_dict()))
    resumed.load_state_dict({**state, "gone": {"sums": 1.0}, "accuracy": {**state["accuracy"], "gone": 1.0}})
    assert resumed(*second) == signals(*second)
    assert resumed.state_dict() == signals.state_dict()
    assert signals_of()(*second) != signals(*second)


class Hashed:
    """A verifier that gives any two completions different rewards."""

    quick = True

    def __call__(self, completion: str, example: Example) -> float:
        return zlib.crc32(completion.encode()) % 1000 / 1000


def test_a_shared_reward_over_steps_of_one_domain_each(small: Callable[..., LoadedConfig]) -> None:
    """Counting and arithmetic take turns and share two objectives: from the second turn on both count."""
    bindings: tuple[str, ...] = (
        "train.domains = [@counting/Domain(), @arithmetic/Domain()]",
        "train.mixture = @mixtures.alternate()",
        "train.reweighting = @reweighting.uniform",
    )
    trainer = Trainer(small(*bindings).experiment)
    for domain in trainer.domains:
        domain.objectives["accuracy"] = Hashed()  # type: ignore[index]
    steps: list[dict[str, Any]] = [trainer.step().metrics for _ in range(3)]
    own = [steps[0]["reward/counting/accuracy"], steps[1]["reward/arithmetic/accuracy"]]
    own += [steps[2]["reward/counting/accuracy"]]
    assert len(set(own)) == 3
    found = [step["signal/accuracy"] for step in steps]
    assert found == pytest.approx([own[0], (own[0] + own[1]) / 2, (own[2] + own[1]) / 2])
