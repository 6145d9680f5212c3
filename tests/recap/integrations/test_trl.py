"""RECAP in the real TRL: the weights are those of our policy fed with the same rewards, and TRL's advantages have them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from recap.rewards.workers import RewardWorkers
from registry import load_plugin, verifiers
from registry.example import Example
from registry.reweighting.gradnorm import GradNorm
from registry.reweighting.kl_only import KLOnly
from registry.reweighting.recap import Recap
from registry.reweighting.recap_released import RecapReleased
from registry.reweighting.static import Static

trl = pytest.importorskip("trl", reason='pip install "recap-rlvr[test]"')
sys.path.insert(0, str(Path(__file__).parent))

from tiny_trl import share_of_digits, share_of_letters, tiny_trainer  # noqa: E402

from recap.integrations.trl import Reweighting, as_trl_reward  # noqa: E402
from tests.processes import torchrun  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("share_of_digits", "share_of_letters")
RECAP = {"window": 2, "temperature": 0.05}


def reweighted(folder: Path, policy: Any = "recap", parameters: dict[str, Any] | None = None, **settings: Any) -> Any:
    """A trainer with our callback, and the callback."""
    trainer = tiny_trainer(folder, **settings)
    callback = Reweighting(trainer, policy, **(RECAP if parameters is None else parameters))
    trainer.add_callback(callback)
    return trainer, callback


def steps(trainer: Any) -> list[dict[str, float]]:
    return [line for line in trainer.state.log_history if "loss" in line]


def recorded(trainer: Any) -> list[torch.Tensor]:
    """The rewards of each generation in training, as TRL itself computes them; to be called before our callback."""
    seen, original = [], trainer._calculate_rewards

    def calculate(*args: Any, **kwargs: Any) -> torch.Tensor:
        rewards = original(*args, **kwargs)
        if trainer.model.training:
            seen.append(rewards.clone())
        return rewards

    trainer._calculate_rewards = calculate
    return seen


@pytest.mark.parametrize("aggregation", ["sum_then_normalize", "normalize_then_sum"])
def test_the_weights_are_those_of_our_policy_and_act_on_trls_rewards(tmp_path: Path, aggregation: str) -> None:
    trainer = tiny_trainer(tmp_path, multi_objective_aggregation=aggregation, reward_weights=[1.0, 0.5])
    seen = recorded(trainer)
    trainer.add_callback(Reweighting(trainer, "recap", **RECAP))
    trainer.train()
    by_hand = Recap(dict.fromkeys(NAMES, "reward"), **RECAP)
    moved = 0.0
    for line, rewards in zip(steps(trainer), seen, strict=True):
        lam = by_hand.weights
        assert [line[f"weight/{name}"] for name in NAMES] == pytest.approx([lam[name] for name in NAMES], rel=1e-6)
        weighted = rewards[:, 0] * lam[NAMES[0]] + rewards[:, 1] * 0.5 * lam[NAMES[1]]
        assert line["reward"] == pytest.approx(weighted.mean().item(), rel=1e-5), "TRL's own sum has other weights"
        by_hand.update(dict(zip(NAMES, rewards.double().mean(0).tolist(), strict=True)))
        moved = max(moved, abs(lam[NAMES[0]] - 1))
    assert moved > 0.05, "weights that never moved show nothing"
    assert "convergence/share_of_digits" in steps(trainer)[-1]
    assert "convergence/share_of_digits" not in steps(trainer)[0]


@pytest.mark.parametrize("aggregation", ["sum_then_normalize", "normalize_then_sum"])
def test_the_advantages_are_those_of_the_weighted_rewards(tmp_path: Path, aggregation: str) -> None:
    trainer = tiny_trainer(tmp_path, multi_objective_aggregation=aggregation, max_steps=1)
    (seen,) = (recorded(trainer),)
    trainer.add_callback(Reweighting(trainer, Static, weights={NAMES[0]: 3, NAMES[1]: 1}))  # λ = 1.5, 0.5
    trainer.train()
    groups = seen[0].view(-1, 4, 2)
    lam = torch.tensor([1.5, 0.5])
    if aggregation == "sum_then_normalize":
        total = (groups * lam).sum(-1)
        expected = (total - total.mean(1, keepdim=True)) / (total.std(1, keepdim=True) + 1e-4)
    else:
        each = (groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)
        total = (each * lam).sum(-1)
        expected = (total - total.mean()) / (total.std() + 1e-4)
    torch.testing.assert_close(
        torch.tensor(list(trainer._logs["advantages"])), expected.flatten(), rtol=1e-4, atol=1e-5
    )


def test_one_update_for_each_optimizer_step_that_sampled(tmp_path: Path) -> None:
    """Two generations make one step, then one generation serves two steps."""
    short, callback = reweighted(
        tmp_path, gradient_accumulation_steps=2, steps_per_generation=1, per_device_train_batch_size=4, max_steps=3
    )
    updates: list[dict[str, float]] = []
    callback.policy.update = updates.append
    short.train()
    assert len(updates) == 3
    long, callback = reweighted(tmp_path, steps_per_generation=2, max_steps=4)
    updates = []
    callback.policy.update = updates.append
    long.train()
    assert len(updates) == 2


def test_a_resumed_run_has_the_weights_of_one_left_alone(tmp_path: Path) -> None:
    whole, _ = reweighted(tmp_path / "whole")
    whole.train()
    first, _ = reweighted(tmp_path / "parts", save_strategy="steps", save_steps=6, max_steps=6)
    first.train()
    second, callback = reweighted(tmp_path / "parts")
    second.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-6"))
    keep = ("weight/", "convergence/", "instability/", "rewards/")
    expected = [{k: v for k, v in line.items() if k.startswith(keep)} for line in steps(whole)]
    found = [{k: v for k, v in line.items() if k.startswith(keep)} for line in steps(second)]
    assert found == expected
    assert callback.policy.weights != dict.fromkeys(NAMES, 1.0)


def test_evaluation_moves_nothing(tmp_path: Path) -> None:
    trainer, callback = reweighted(tmp_path, max_steps=5, per_device_eval_batch_size=4)
    trainer.train()
    before, weights = callback.policy.state_dict(), trainer.reward_weights.clone()
    trainer.evaluate()
    callback.end_step()
    assert callback.policy.state_dict() == before
    assert torch.equal(trainer.reward_weights, weights)


def sometimes(completions: Sequence[str], trainer_state: Any, **given: Any) -> list[float | None]:
    """Applies to half of the completions, and to none in the steps of odd numbers."""
    odd = trainer_state.global_step % 2
    return [None if odd or i % 2 else 0.25 for i in range(len(completions))]


def test_a_reward_that_does_not_apply_is_absent(tmp_path: Path) -> None:
    trainer, callback = reweighted(tmp_path, rewards=(share_of_digits, sometimes), max_steps=4)
    updates: list[dict[str, float]] = []
    callback.policy.update = updates.append
    trainer.train()
    assert [sorted(update) for update in updates] == [["share_of_digits", "sometimes"], ["share_of_digits"]] * 2
    assert updates[0]["sometimes"] == 0.25


def test_shortfall_is_the_same_history_upside_down(tmp_path: Path) -> None:
    trainer, callback = reweighted(tmp_path, parameters={"signal": "shortfall", **RECAP}, max_steps=2)
    seen: list[dict[str, float]] = []
    callback.policy.update = seen.append
    trainer.train()
    mean = steps(trainer)[0]["rewards/share_of_digits/mean"]
    assert seen[0]["share_of_digits"] == pytest.approx(1 - mean)


def test_a_policy_of_the_same_step_weighs_what_it_has_just_measured(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, max_steps=4)
    seen = recorded(trainer)
    trainer.add_callback(Reweighting(trainer, RecapReleased, temperature=0.1))
    trainer.train()
    by_hand = RecapReleased(dict.fromkeys(NAMES, "reward"), temperature=0.1)
    for line, rewards in zip(steps(trainer), seen, strict=True):
        by_hand.update(dict(zip(NAMES, rewards.double().mean(0).tolist(), strict=True)))
        assert [line[f"weight/{name}"] for name in NAMES] == pytest.approx(list(by_hand.weights.values()), rel=1e-6)


def test_it_drives_rloo_too(tmp_path: Path) -> None:
    trainer, _ = reweighted(tmp_path, trainer=trl.RLOOTrainer, config=trl.RLOOConfig)
    trainer.train()
    weights = [line["weight/share_of_digits"] for line in steps(trainer)]
    assert weights[0] == 1.0
    assert len(set(weights)) > 3


def test_what_trl_cannot_serve_is_refused(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    with pytest.raises(ValueError, match="did you mean: recap"):
        Reweighting(trainer, "recpa")
    with pytest.raises(ValueError, match="gradient norm"):
        Reweighting(trainer, GradNorm)
    with pytest.raises(ValueError, match=r"beta=0\.04; its beta is 0"):
        Reweighting(trainer, KLOnly)
    with pytest.raises(ValueError, match="'reward' or 'shortfall'"):
        Reweighting(trainer, signal="loss")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="give the class Recap"):
        Reweighting(trainer, Recap(NAMES))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="object has no 'reward_weights'"):
        Reweighting(object())
    double = tiny_trainer(tmp_path, rewards=(share_of_digits, share_of_digits))
    with pytest.raises(ValueError, match="several reward functions are called share_of_digits"):
        Reweighting(double)


# --- verifiers as reward functions


def test_columns_become_the_example(tmp_path: Path) -> None:
    seen: list[Example] = []

    def judge(completion: str, example: Example) -> float:
        seen.append(example)
        return float(completion == example.answer)

    judge.quick = True  # type: ignore[attr-defined]
    reward = as_trl_reward(judge, columns={"answer": "solution"})
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
    given = {"solution": ["4", "5"], "choices": [["4", "6"], None], "topic": ["a", "b"], "log_metric": lambda *_: None}
    found = reward(
        prompts=["2 + 2", chat],
        completions=["4", [{"role": "assistant", "content": "6"}]],
        completion_ids=[[1], [2]],
        **given,
    )
    assert found == [1.0, 0.0]
    assert reward.__name__ == "judge"
    assert seen[0] == Example(id="row 0", question="2 + 2", answer="4", choices=("4", "6"), metadata={"topic": "a"})
    assert seen[1] == Example(id="row 1", question="What?", answer="5", metadata={"topic": "b"})


def test_a_column_that_is_not_there_is_named() -> None:
    reward = as_trl_reward("accuracy", columns={"answer": "solution"})
    with pytest.raises(ValueError, match="'answer' is to come from the column 'solution'; there are topic"):
        reward(prompts=["2"], completions=["4"], topic=["a"])
    reward = as_trl_reward("accuracy", columns={"anwser": "solution"})
    with pytest.raises(ValueError, match="no field 'anwser'"):
        reward(prompts=["2"], completions=["4"], solution=["4"])


def test_it_is_isolated_as_in_recap() -> None:
    load_plugin(ROOT / "tests/recap/rewards/hostile_verifiers.py")
    hostile = sys.modules["recap_plugin_hostile_verifiers"]
    logged: dict[str, float] = {}
    with RewardWorkers(timeout_s=3, workers=1) as workers:
        reward = as_trl_reward(verifiers.build("accuracy"), columns={"answer": "solution"}, workers=workers)
        hard = {"prompts": ["?"], "completions": [r"<answer>\sqrt{12}</answer>"], "solution": [r"2\sqrt{3}"]}
        assert reward(**hard) == [1.0]
        commanded = as_trl_reward(hostile.Commanded(), workers=workers, name="commanded")
        completions = ["give 0.5", "sleep", "segfault", "pass", "give 1"]
        found = commanded(prompts=["?"] * 5, completions=completions, log_metric=logged.__setitem__)
    assert found == [0.5, 0.0, 0.0, None, 1.0]
    assert logged == {"faults/commanded": 1.0, "timeouts/commanded": 1.0}


def test_verifiers_train_in_trl(tmp_path: Path) -> None:
    accuracy = as_trl_reward("accuracy", columns={"answer": "solution"})
    form = as_trl_reward("answer_format", name="form")
    trainer, _ = reweighted(tmp_path, rewards=(accuracy, form, share_of_digits), max_steps=2)
    trainer.train()
    line = steps(trainer)[-1]
    assert {"weight/accuracy", "weight/form", "faults/accuracy", "rewards/form/mean"} <= set(line)
    accuracy.workers.close()


# --- several processes


def test_two_processes_hold_the_weights_of_the_mean(tmp_path: Path) -> None:
    done = torchrun(__file__, str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["weights"] == second["weights"]
    by_hand = Recap(dict.fromkeys(NAMES, "reward"), **RECAP)
    assert first["rewards"][0] != second["rewards"][0], (
        "both processes must see other completions for this to show much"
    )
    for weights, ours, theirs in zip(first["weights"], first["rewards"], second["rewards"], strict=True):
        assert weights == pytest.approx(list(by_hand.weights.values()), rel=1e-6)
        both = torch.tensor(ours + theirs, dtype=torch.float64).mean(0)
        by_hand.update(dict(zip(NAMES, both.tolist(), strict=True)))
    assert first["weights"][-1][0] != 1.0


def main(output: Path) -> None:
    rank = int(os.environ["RANK"])
    own: list[list[list[float]]] = []

    def kept(function: Any, column: int) -> Any:
        def reward(completions: Sequence[str], **given: Any) -> list[float]:
            found: list[float] = function(completions)
            if column == 0:
                own.append([[value, 0.0] for value in found])
            else:
                own[-1] = [[row[0], value] for row, value in zip(own[-1], found, strict=True)]
            return found

        reward.__name__ = function.__name__
        return reward

    rewards = (kept(share_of_digits, 0), kept(share_of_letters, 1))
    trainer, callback = reweighted(output / "run", rewards=rewards, max_steps=7, per_device_train_batch_size=4)
    used: list[list[float]] = []
    end_step = callback.end_step

    def noted() -> None:
        used.append(list(callback.policy.weights.values()))
        end_step()

    callback.end_step = noted
    trainer.train()
    (output / f"{rank}.json").write_text(json.dumps({"weights": used, "rewards": own}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
