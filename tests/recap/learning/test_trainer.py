"""One step: what reaches the weights, what is reported, and that it is the same on one process or two."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import recap.learning.trainer
from recap.experiment.config import LoadedConfig
from recap.experiment.experiment import kl_domains
from recap.learning.batch import Batch
from recap.learning.passes import ReinforcementPass, SupervisedPass
from recap.learning.trainer import Trainer
from recap.rewards.verification import PendingRewards
from registry.example import Example
from tests.processes import torchrun

Small = Callable[..., LoadedConfig]
ROOT = Path(__file__).resolve().parents[3]


class Hashed:
    """A verifier that gives any two completions different rewards, so that every group has a gradient."""

    quick = True

    def __call__(self, completion: str, example: Example) -> float:
        return zlib.crc32(completion.encode()) % 1000 / 1000


def parameters(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in trainer.loaded.model.parameters()])


def test_a_step_reports_every_objective(small: Small) -> None:
    trainer = Trainer(small().experiment)
    before = parameters(trainer)
    result = trainer.step()
    assert result.updated
    assert not torch.equal(before, parameters(trainer))
    names = {"accuracy", "thinking_format", "iou", "answer_format", "next_token"}
    assert {objective.name for objective in trainer.objectives} == names
    for quantity in ("signal", "weight", "loss"):
        assert {name for name in result.metrics if name.startswith(f"{quantity}/")} == {
            f"{quantity}/{n}" for n in names
        }
    assert {f"reward/{n}" for n in names - {"next_token"}} <= set(result.metrics)
    assert result.metrics["signal/next_token"] > 1  # nats per character of a model that knows nothing: about log 68
    assert result.metrics["completion_tokens"] > 0


def test_no_second_of_a_step_is_counted_twice(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where bringing the sampler's weights up to date takes longer than the update: a sharded model, a generator."""
    trainer = Trainer(small().experiment)
    ready = trainer.models.ready_to_sample

    def slowly() -> None:
        time.sleep(2)
        ready()

    monkeypatch.setattr(trainer.models, "ready_to_sample", slowly)
    found = trainer.step().metrics
    assert found["rollout_seconds"] + found["verify_seconds"] <= found["step_seconds"]
    assert found["update_seconds"] >= 0


def gradient_of(trainer: Trainer, batch: Batch) -> torch.Tensor:
    """Of all parameters, [P], with the weights as they are."""
    counts, _ = trainer.count(batch)
    weights = trainer.reweighting.weights
    trainer.update.forward_backward(trainer.passes(batch, counts, weights), counts, weights)
    return torch.cat([p.grad.flatten() for p in trainer.loaded.model.parameters()])


def test_micro_batches_give_the_same_gradient(small: Small) -> None:
    """Once with all prompts at a time, once two by two: the optimizer sees the same."""
    gradients = []
    for accumulation in (1, 4):
        trainer = Trainer(small(f"train.accumulation_steps = {accumulation}").experiment)
        batch = trainer.verify(trainer.roll_out(prompts := trainer.draw()), prompts)
        gradients.append(gradient_of(trainer, batch))
    assert gradients[0].norm() > 0
    assert (gradients[0] - gradients[1]).norm() < 1e-4 * gradients[0].norm()


@pytest.mark.parametrize(
    "bindings",
    [
        (),
        ("grpo.kl_coefficient = 0.1", "rollout.batch_size = 4"),
        ("train.weights_act_on = 'advantage'", "scoring.shared_prefix = False"),
    ],
)
def test_a_bound_on_tokens_gives_the_same_gradient(small: Small, bindings: tuple[str, ...]) -> None:
    """Micro-batches of some groups, or of some completions of one; none has more tokens than allowed."""
    gradients, statistics, number = [], [], []
    for bound in (None, 300, 60):
        patient = ("rollout.group_size = 4", "rewards.timeout_s = 60.0")  # for a loaded machine
        trainer = Trainer(small(*patient, f"scoring.max_tokens = {bound}", *bindings).experiment)
        for domain in trainer.domains:
            for objective in domain.objectives:
                domain.objectives[objective] = Hashed()  # type: ignore[index]
        batch = trainer.verify(trainer.roll_out(prompts := trainer.draw()), prompts)
        counts, _ = trainer.count(batch)
        weights = trainer.reweighting.weights
        passes = trainer.passes(batch, counts, weights)
        for one in passes:
            assert isinstance(one, ReinforcementPass | SupervisedPass)
            mask = one.item.completion_mask if isinstance(one, ReinforcementPass) else one.item.mask
            tokens = int(one.item.encoded.attention_mask.sum() + mask.sum())
            assert bound is None or tokens <= bound or len(mask) == 1
        number.append(len(passes))
        losses, metrics, _ = trainer.update.forward_backward(passes, counts, weights)
        statistics.append(torch.cat([losses.flatten(), torch.tensor([metrics["entropy"]])]))
        gradients.append(torch.cat([p.grad.flatten() for p in trainer.loaded.model.parameters()]))
    assert number[0] < number[1] < number[2]
    for found, counted in zip(gradients[1:], statistics[1:], strict=True):
        assert (found - gradients[0]).norm() < 1e-4 * gradients[0].norm()
        torch.testing.assert_close(counted, statistics[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("binding", ["train.accumulation_steps = 8", "scoring.max_tokens = 1"])
def test_a_micro_batch_of_empty_completions_gives_the_same_gradient(small: Small, binding: str) -> None:
    """A generator may leave nothing (`collate`), of a whole group or of half of one; with a KL term no group is skipped."""
    gradients = []
    for bindings in ((), (binding,)):
        trainer = Trainer(small("grpo.kl_coefficient = 0.1", "rollout.group_size = 4", *bindings).experiment)
        for domain in trainer.domains:
            for objective in domain.objectives:
                domain.objectives[objective] = Hashed()  # type: ignore[index]
        batch = trainer.verify(trainer.roll_out(prompts := trainer.draw()), prompts)
        mask = batch.rollouts[0].completion_mask.clone()
        mask[:6] = 0  # the first group, and the first half of the second
        batch.rollouts[0] = replace(batch.rollouts[0], completion_mask=mask)
        gradients.append(gradient_of(trainer, batch))
    assert gradients[0].norm() > 0
    assert (gradients[0] - gradients[1]).norm() < 1e-4 * gradients[0].norm()


def test_what_saves_work_changes_nothing(small: Small) -> None:
    """Whole steps, against ones that compute every prompt for every completion and every logit at once."""
    plain = ("rollout.shared_prefix = False", "scoring.shared_prefix = False", "scoring.chunk = None")
    saving = Trainer(small("scoring.chunk = 7").experiment)
    naive = Trainer(small(*plain, "grpo.skip_zero_advantage = False").experiment)
    for _ in range(2):
        ours, expected = saving.step(), naive.step()
        assert [r.completions for r in ours.batch.rollouts] == [r.completions for r in expected.batch.rollouts]
        for name in ("loss", "gradient_norm"):
            assert ours.metrics[name] == pytest.approx(expected.metrics[name], rel=1e-3), name


@pytest.mark.parametrize(
    ("bindings", "runs"), [((), 1), (("scoring.reuse_prefill = False",), 2), (("grpo.iterations = 3",), 3)]
)
def test_a_step_sees_each_picture_once(small: Small, bindings: tuple[str, ...], runs: int) -> None:
    """The vision tower runs in the rollout; in the loss only where the prefill is not used, and in later updates."""
    domain = ("train.domains = [@counting/Domain()]", "train.mixture = @mixtures.uniform()")
    trainer = Trainer(small(*domain, *bindings).experiment)
    for objective in trainer.domains[0].objectives:
        trainer.domains[0].objectives[objective] = Hashed()  # type: ignore[index]
    trainer.step()  # compares at first use
    calls = []
    hook = trainer.loaded.model.base_model.visual.register_forward_hook(lambda *_: calls.append(1))
    result = trainer.step()
    hook.remove()
    assert result.metrics["gradient_norm"] > 0
    assert len(calls) == runs
    assert not any(rollout.prefix and rollout.prefix.held for rollout in result.batch.rollouts)


@pytest.mark.parametrize(("batch_size", "times"), [("None", 1), ("3", 2)])
def test_what_a_process_holds_is_decoded_together(small: Small, batch_size: str, times: int) -> None:
    """Whatever number of micro-batches the loss needs; a step has 6 prompts that are trained by reinforcement."""
    calls = {}
    for accumulation in (1, 4):
        bindings = ("rollout.batch_size = " + batch_size, f"train.accumulation_steps = {accumulation}")
        trainer = Trainer(small(*bindings, "scoring.reuse_prefill = False").experiment)
        trainer.step()  # the comparisons at first use
        drawn, calls[accumulation] = trainer.draw(), 0

        def counted(*_: Any, accumulation: int = accumulation) -> None:
            calls[accumulation] += 1

        hook = trainer.loaded.model.register_forward_hook(counted)
        pending = trainer.roll_out(drawn)
        hook.remove()
        assert len(pending) == times
        batch = trainer.verify(pending, drawn)
        counts, _ = trainer.count(batch)
        weights = trainer.reweighting.weights
        assert len(trainer.passes(batch, counts, weights)) <= 2 * accumulation + 1
    assert calls[1] == calls[4]


def test_a_part_is_judged_while_the_next_is_sampled(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, calls = Trainer(small("rollout.batch_size = 4").experiment), []

    def noted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return original(*args, **kwargs)

        return call

    monkeypatch.setattr("recap.learning.trainer.roll_out", noted("sample", recap.learning.trainer.roll_out))
    monkeypatch.setattr(
        "recap.learning.trainer.begin_verification", noted("begin", recap.learning.trainer.begin_verification)
    )
    monkeypatch.setattr("recap.rewards.verification.PendingRewards.result", noted("result", PendingRewards.result))
    trainer.step()
    assert calls == ["sample", "begin", "sample", "begin", "result", "result"]


def test_weights_move_once_the_history_is_full_and_not_before(small: Small) -> None:
    trainer = Trainer(small("reweighting.recap.window = 2", "reweighting.recap.temperature = 0.1").experiment)
    spreads = [trainer.step().metrics["weight_spread"] for _ in range(6)]
    assert spreads[:4] == [0.0] * 4
    assert spreads[4] > 0


def test_the_same_seed_gives_the_same_steps(small: Small) -> None:
    first, second = ([Trainer(small().experiment).step().metrics["loss"] for _ in range(1)] for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    "policy",
    [
        "dwa",
        "famo",
        "gradnorm",
        "kl_only",
        "recap",
        "recap_released",
        "rlw",
        "scale_invariant",
        "static",
        "uniform",
        "uw",
    ],
)
def test_every_policy_trains_with_one_changed_line(small: Small, policy: str) -> None:
    trainer = Trainer(small(f"train.reweighting = @reweighting.{policy}").experiment)
    metrics = trainer.step().metrics
    assert sum(value for name, value in metrics.items() if name.startswith("weight/")) == pytest.approx(5)
    assert ("kl" in metrics) == (policy == "kl_only")


@pytest.mark.parametrize("act_on", ["loss", "reward", "advantage", "normalized_advantage"])
def test_weights_act_where_they_are_told_to(small: Small, act_on: str) -> None:
    assert Trainer(small(f"train.weights_act_on = '{act_on}'").experiment).step().updated


def test_per_domain_objectives(small: Small) -> None:
    trainer = Trainer(small("train.objective_scope = 'per_domain'").experiment)
    assert len(trainer.objectives) == 7
    assert trainer.step().metrics["weight/counting/accuracy"] == 1.0


class Poisoned:
    """A verifier that gives NaN."""

    quick = True

    def __call__(self, completion: str, example: Example) -> float:
        return float("nan")


def test_a_policy_of_the_same_step_weighs_the_step_that_it_measured(small: Small) -> None:
    """Each step's weights are those that a second policy gives after the step's own signals."""
    bindings = ("train.reweighting = @reweighting.recap_released", "reweighting.recap_released.temperature = 0.05")
    config = small(*bindings, "train.objective_scope = 'per_domain'", "train.weights_act_on = 'reward'").experiment
    trainer, twin = Trainer(config), config.build_reweighting()
    spreads = []
    for _ in range(3):
        metrics = trainer.step().metrics
        twin.update({name: metrics[f"signal/{name}"] for name in twin.objectives})
        for name, weight in twin.weights.items():
            assert metrics[f"weight/{name}"] == pytest.approx(weight, rel=1e-3)
        spreads.append(metrics["weight_spread"])
    assert spreads[0] == 0
    assert spreads[1] > 0.01


def test_nan_in_a_reward_never_reaches_the_weights(small: Small) -> None:
    trainer = Trainer(small().experiment)
    healthy = dict(trainer.domains[0].objectives)
    trainer.domains[0].objectives["accuracy"] = Poisoned()  # type: ignore[index]
    before = parameters(trainer)
    result = trainer.step()
    assert not result.updated
    assert result.metrics["skipped"] == 1
    assert torch.equal(before, parameters(trainer))
    trainer.domains[0].objectives["accuracy"] = healthy["accuracy"]  # type: ignore[index]
    assert trainer.step().updated
    assert torch.isfinite(parameters(trainer)).all()


def test_nan_in_a_loss_never_reaches_the_weights(small: Small) -> None:
    trainer = Trainer(small().experiment)
    before = parameters(trainer)
    forward = trainer.models.scorer.forward

    def broken(*args: object, **kwargs: object):  # type: ignore[no-untyped-def]
        scores = forward(*args, **kwargs)
        return scores._replace(log_probs=scores.log_probs * float("nan"))

    trainer.models.scorer.forward = broken  # type: ignore[method-assign]
    result = trainer.step()
    assert not result.updated
    assert torch.equal(before, parameters(trainer))
    assert not any(
        torch.isnan(v).any() for s in trainer.models.optimizer.state.values() for v in s.values() if torch.is_tensor(v)
    )


STEPS = """
import json, sys
from recap.experiment.config import load_config
from recap.learning.passes import ReinforcementPass, SupervisedPass
from recap.learning.trainer import Trainer
bindings = json.loads(sys.argv[2])
trainer = Trainer(load_config(sys.argv[1], bindings).experiment)
with trainer.experiment.rewards:
    steps = [trainer.step().metrics for _ in range(2)]
rank = trainer.accelerator.process_index
sys.stdout.write("RANK " + json.dumps([rank, [{k: v for k, v in s.items() if k.split("/")[0] in
      ("loss", "kl", "weight", "reward", "signal")} | {"gradient_norm": s["gradient_norm"]} for s in steps]]) + "\\n")
"""


def steps_on(processes: int, tmp_path: Path, bindings: list[str]) -> dict[int, list[dict[str, float]]]:
    """Two steps on one or two CPU processes; the metrics by rank."""
    script = tmp_path / "steps.py"
    script.write_text(STEPS)
    file = str(ROOT / "experiments/quickstart.gin")
    done = torchrun(str(script), file, json.dumps(bindings), processes=processes)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line.split("RANK ", 1)[1]) for line in done.stdout.splitlines() if "RANK " in line]
    return dict(found)


RELEASED = (
    "train.reweighting = @reweighting.recap_released",
    "reweighting.recap_released.temperature = 0.05",
    "train.objective_scope = 'per_domain'",
    "train.weights_act_on = 'reward'",
)
RECAP = ("reweighting.recap.window = 1", "adamw.learning_rate = 1e-4")
# The base as reference, which a process runs only where it has completions.
LORA = ("train.reweighting = @reweighting.kl_only", "train.adapter = @lora()", "adamw.learning_rate = 1e-3")


@pytest.mark.slow  # of the quick suite are the gradient of a step (test_parallel.py) and two steps (parallel/test_sharding.py)
@pytest.mark.parametrize(
    "more",
    [
        pytest.param(RECAP, id="recap"),
        pytest.param(RELEASED, id="recap_released"),
        pytest.param(LORA, id="lora"),
        # A domain a step, whose shared objectives remember the other.
        pytest.param((*RECAP, "train.mixture = @mixtures.alternate()"), id="alternate"),
        # Parts of some completions, more of them on one process than on the other.
        pytest.param((*RECAP, "scoring.max_tokens = 60"), id="bounded"),
    ],
)
def test_two_processes_agree_with_one(small_bindings: list[str], tmp_path: Path, more: tuple[str, ...]) -> None:
    """Same global batch, same completions, same loss and gradient; both ranks hold the same weights λ."""
    bindings = [*small_bindings, *more]
    one, two = steps_on(1, tmp_path, bindings), steps_on(2, tmp_path, bindings)
    assert two.keys() == {0, 1}
    assert two[0] == two[1]
    for alone, together in zip(one[0], two[0], strict=True):
        for name, value in alone.items():
            assert together[name] == pytest.approx(value, rel=2e-3, abs=1e-5), name


def test_the_kl_term_goes_where_it_is_told_to(small: Small) -> None:
    on = {
        name: small("grpo.kl_coefficient = 0.1", f"grpo.kl_on = {name!r}").experiment
        for name in ("all", "reasoning", "replay")
    }
    domains = [domain.name for domain in on["all"].domains]
    assert domains == ["counting", "arithmetic", "grounding", "reading"]
    assert kl_domains(on["all"]) == [True, True, True, True]
    assert kl_domains(on["reasoning"]) == [True, True, False, False]
    assert kl_domains(on["replay"]) == [False, False, True, True]
    losses = {}
    for name, experiment in on.items():
        trainer = Trainer(experiment)
        first, second = (
            trainer.step().metrics,
            trainer.step().metrics,
        )  # the model is its reference until the first update
        assert first["kl"] == 0
        assert second["kl"] > 0
        losses[name] = second["loss/iou"], second["loss/accuracy"]
    assert losses["replay"] != losses["reasoning"]


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (["grpo.kl_on = 'replay'"], "there is no KL term: set grpo.kl_coefficient above 0"),
        (
            ["grpo.kl_on = 'replay'", "grpo.kl_coefficient = 0.1", "grounding/Domain.replayed = False"],
            "no domain that is trained by reinforcement is replayed: say which are",
        ),
        (["grpo.kl_on = 'perception'"], "grpo.kl_on"),
    ],
)
def test_a_kl_term_that_would_act_nowhere(small: Small, bindings: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(*bindings)
