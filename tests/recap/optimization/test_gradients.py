"""Gradient methods by name."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from recap.experiment.config import ConfigError, LoadedConfig
from recap.learning.trainer import Trainer
from recap.optimization.gradients import AGGREGATORS, REMEMBERED, GradientAggregator, build_aggregator
from registry.example import Example
from tests.processes import torchrun

Small = Callable[..., LoadedConfig]

QUICKSTART = Path(__file__).resolve().parents[3] / "experiments" / "quickstart.gin"
CONFLICT = torch.tensor([[1.0, -2.0], [-3.0, 1.0]], dtype=torch.float64)
ASKED_FOR = {"mgda", "pcgrad", "cagrad", "imtl_g", "nash_mtl", "aligned_mtl", "graddrop", "upgrad"}


def test_every_method_that_the_project_names_is_there() -> None:
    assert set(AGGREGATORS) >= ASKED_FOR


@pytest.mark.parametrize("name", sorted(AGGREGATORS))
def test_a_method_turns_conflicting_gradients_into_one_direction(name: str) -> None:
    try:
        aggregator = build_aggregator(name, 2)
    except ValueError as error:
        pytest.skip(str(error))
    direction = aggregator(CONFLICT)
    assert direction.shape == (2,)
    assert torch.isfinite(direction).all()
    assert direction.norm() > 0


def test_pcgrad_by_hand() -> None:
    """g1 - (g1·g2 / |g2|²) g2 + g2 - (g1·g2 / |g1|²) g1 with g1·g2 = -5, |g1|² = 5, |g2|² = 10."""
    pytest.importorskip("torchjd")
    torch.testing.assert_close(build_aggregator("pcgrad", 2)(CONFLICT), torch.tensor([-2.5, -2.5], dtype=torch.float64))


def test_mgda_by_hand() -> None:
    """The shortest vector between g1 and g2 is orthogonal to g1 - g2 = (4, -3)."""
    pytest.importorskip("torchjd")
    torch.testing.assert_close(
        build_aggregator("mgda", 2)(CONFLICT), torch.tensor([-0.6, -0.8], dtype=torch.float64), atol=1e-3, rtol=0
    )


def test_a_mistyped_name_shows_near_matches() -> None:
    with pytest.raises(ValueError, match=r"no gradient method 'pcgard'; did you mean pcgrad"):
        build_aggregator("pcgard", 2)


def test_without_torchjd_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("torchjd"):
            raise ImportError("No module named 'torchjd'")
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r'mgda: .*pip install "recap-rlvr\[gradients\]"'):
        build_aggregator("mgda", 2)


def test_an_objective_without_gradient_is_left_out() -> None:
    silent = torch.stack([CONFLICT[0], torch.zeros(2, dtype=torch.float64), CONFLICT[1]])
    torch.testing.assert_close(GradientAggregator("mgda")(silent), build_aggregator("mgda", 2)(CONFLICT))
    alone = silent[:2]
    torch.testing.assert_close(GradientAggregator("mgda")(alone), alone.mean(0))


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", [None, *sorted(AGGREGATORS)])
def test_a_gradient_that_is_not_finite_gives_a_direction_that_is_not_so_that_it_is_refused(
    name: str | None, broken: float
) -> None:
    """Two healthy objectives beside it would be enough for a method to go on without it."""
    try:
        aggregator = GradientAggregator(name)
    except ValueError as error:
        pytest.skip(str(error))
    assert not aggregator(torch.tensor([[1.0, 0.0], [0.0, 1.0], [broken, 1.0]])).isfinite().all()
    assert aggregator(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])).isfinite().all(), "the next step"


@pytest.mark.parametrize("name", sorted(AGGREGATORS))
def test_what_a_method_remembers_is_saved_as_tensors(name: str) -> None:
    """Through a safetensors file, which can hold nothing else."""
    try:
        first, second = GradientAggregator(name), GradientAggregator(name)
    except ValueError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    history = [torch.randn(rows, 6) for rows in (2, 3, 2, 3)]
    for gradients in history:
        first(gradients)
    second.load_state_dict(safetensors.torch.load(safetensors.torch.save(first.state_dict())))
    for gradients in history:
        torch.manual_seed(1)  # some visit the gradients in random order
        expected = first(gradients)
        torch.manual_seed(1)
        assert torch.equal(second(gradients), expected)


def test_every_method_that_torchjd_calls_stateful_is_known_to_remember() -> None:
    torchjd = pytest.importorskip("torchjd")
    for name in AGGREGATORS:
        try:
            remembers = isinstance(build_aggregator(name, 2), torchjd.Stateful)
        except ValueError:
            continue
        assert remembers == (name in REMEMBERED), name


def test_the_memory_of_another_method_is_refused() -> None:
    pytest.importorskip("torchjd")
    with pytest.raises(ValueError, match="'mgda' does not remember a 'step'"):
        GradientAggregator("mgda").load_state_dict({"2.step": torch.ones(())})


# ---- in the trainer


def gradient(small: Small, *bindings: str) -> torch.Tensor:
    """What the optimizer sees in the first step, [parameters]."""
    trainer = Trainer(small("grpo.skip_zero_advantage = False", *bindings).experiment)
    seen = {}
    update = trainer.update.take

    def spy(*arguments: Any) -> bool:
        seen["gradient"] = torch.cat([p.grad.flatten() for p in trainer.models.trained_parameters])
        return update(*arguments)

    trainer.update.take = spy  # type: ignore[method-assign]
    with trainer.experiment.rewards:
        trainer.step()
    return seen["gradient"]


def test_the_mean_of_the_objectives_gradients_is_the_gradient_of_the_step_loss(small: Small) -> None:
    by_objective = gradient(small, "train.reweighting = @reweighting.gradnorm")  # its first weights are 1
    torch.testing.assert_close(
        by_objective, gradient(small, "train.reweighting = @reweighting.uniform"), rtol=1e-3, atol=1e-6
    )


def test_the_trainer_aggregates_the_gradients_of_the_objectives(small: Small) -> None:
    """Rows found by giving one objective all the weight; λ is constant, so the step loss is (1/K) K L_k = L_k."""
    names = ["accuracy", "thinking_format", "iou", "answer_format", "next_token"]
    rows = []
    for name in names:
        weights = {other: float(other == name) for other in names}
        rows.append(
            gradient(small, "train.reweighting = @reweighting.static", f"reweighting.static.weights = {weights}")
        )
    expected = GradientAggregator("upgrad")(torch.stack(rows))
    found = gradient(small, "train.gradient_method = 'upgrad'", "train.reweighting = @reweighting.uniform")
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("name", sorted(AGGREGATORS))
def test_every_method_trains(small: Small, name: str) -> None:
    trainer = Trainer(small(f"train.gradient_method = '{name}'").experiment)
    before = torch.cat([p.detach().flatten().clone() for p in trainer.models.trained_parameters])
    with trainer.experiment.rewards:
        assert trainer.step().updated
    after = torch.cat([p.detach().flatten() for p in trainer.models.trained_parameters])
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)


def test_gradnorm_hears_the_norms_of_the_objectives_present(small: Small) -> None:
    trainer = Trainer(small("train.reweighting = @reweighting.gradnorm").experiment)
    heard = {}
    trainer.reweighting.observe_gradient_norms = heard.update  # type: ignore[method-assign]
    with trainer.experiment.rewards:
        trainer.step()
    assert set(heard) == {objective.name for objective in trainer.objectives}
    assert heard["next_token"] > 0


def test_gradnorm_hears_the_norms_of_the_update_that_the_losses_are_of(small: Small) -> None:
    """The first of a step, however many follow on the same rollouts."""
    heard: list[dict[str, float]] = [{}, {}]
    for last, iterations in zip(heard, (1, 3), strict=True):
        bindings = ("train.reweighting = @reweighting.gradnorm", f"grpo.iterations = {iterations}")
        trainer = Trainer(small(*bindings, "adamw.learning_rate = 1e-2").experiment)
        trainer.reweighting.observe_gradient_norms = last.update  # type: ignore[method-assign]
        with trainer.experiment.rewards:
            trainer.step()
    assert heard[1] == pytest.approx(heard[0], rel=1e-4)


class Indifferent:
    """A verifier that gives every completion the same reward, so that no group has a gradient."""

    quick = True

    def __call__(self, completion: str, example: Example) -> float:
        return 0.5


@pytest.mark.parametrize(
    "binding",
    [
        "train.gradient_method = None",
        "train.gradient_method = 'upgrad'",
        "train.reweighting = @reweighting.gradnorm",
    ],
)
def test_a_step_in_which_no_group_has_a_gradient_is_taken_with_a_gradient_of_zero(small: Small, binding: str) -> None:
    """There is nothing to run backward through then: groups without advantages are skipped, and nothing is imitated."""
    domain = ("train.domains = [@arithmetic/Domain()]", "train.mixture = @mixtures.uniform()")
    trainer = Trainer(small(*domain, binding).experiment)
    for objective in trainer.domains[0].objectives:
        trainer.domains[0].objectives[objective] = Indifferent()  # type: ignore[index]
    with trainer.experiment.rewards:
        result = trainer.step()
    assert result.updated
    assert result.metrics["gradient_norm"] == 0
    moments = [trainer.models.optimizer.state[p]["exp_avg"] for p in trainer.models.trained_parameters]
    assert not any(moment.any() for moment in moments), "Adam has seen zeros, not nothing"


REPLICAS = """
import json, sys
import torch
from recap.experiment.config import load_config
from recap.learning.trainer import Trainer

for method in ("pcgrad", "graddrop"):
    bindings = [*json.loads(sys.argv[2]), f"train.gradient_method = '{method}'"]
    trainer = Trainer(load_config(sys.argv[1], bindings, allow_unused=True).experiment)
    # As after a resume on more processes: the new ones have no saved random state, and begin with that of the seed.
    torch.manual_seed(trainer.accelerator.process_index)
    with trainer.experiment.rewards:
        assert all([trainer.step().updated for _ in range(2)])
    weights = torch.cat([p.detach().flatten() for p in trainer.models.trained_parameters])
    first, second = trainer.accelerator.gather(weights[None])
    if trainer.accelerator.is_main_process:
        print("DIFFERENCE", json.dumps([method, float((first - second).abs().max())]))
"""


def test_methods_that_draw_random_numbers_keep_the_copies_of_two_processes_equal(
    small_bindings: list[str], tmp_path: Path
) -> None:
    """Each process draws its own: the order in which PCGrad visits gradients, what GradDrop lets through."""
    pytest.importorskip("torchjd")
    (tmp_path / "replicas.py").write_text(REPLICAS)
    trained = [line for line in small_bindings if "weights = 'random'" not in line]  # whose rewards differ
    bindings = [*trained, "rollout.group_size = 4", "rollout.max_new_tokens = 24", "rollout.temperature = 1.5"]
    done = torchrun(str(tmp_path / "replicas.py"), str(QUICKSTART), json.dumps(bindings))
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split("DIFFERENCE ", 1)[1] for line in done.stdout.splitlines() if "DIFFERENCE " in line]
    assert [json.loads(line) for line in lines] == [["pcgrad", 0.0], ["graddrop", 0.0]]


@pytest.mark.parametrize("binding", ["train.gradient_method = 'upgrad'", "train.reweighting = @reweighting.gradnorm"])
def test_gradients_by_objective_need_weights_on_the_loss(small: Small, binding: str) -> None:
    with pytest.raises(ConfigError, match="weights_act_on must be 'loss'"):
        small(binding, "train.weights_act_on = 'reward'")


def test_a_mistyped_method_in_an_experiment(small: Small) -> None:
    with pytest.raises(ConfigError, match=r"train\.gradient_method is 'upgard'; did you mean 'upgrad'"):
        small("train.gradient_method = 'upgard'")
