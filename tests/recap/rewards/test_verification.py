"""From the scores of verifiers to tensors."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gin
import pytest
import torch

from recap.data.domains import Domain
from recap.data.objectives import collect_objectives
from recap.learning.advantages import step_advantages
from recap.rewards.table import RewardTable
from recap.rewards.verification import begin_verification
from recap.rewards.workers import RewardWorkers
from recap.sampling.rollout import token_ids
from registry import load_plugin
from registry.example import Example
from registry.replay.arithmetic import Arithmetic

load_plugin(Path(__file__).parent / "hostile_verifiers.py")
hostile: Any = sys.modules["recap_plugin_hostile_verifiers"]


def half(completion: str, example: Example) -> float:
    return 0.5 if "a" in completion else 1.0


half.quick = True  # type: ignore[attr-defined]


def judged(workers: RewardWorkers, completions: list[str]) -> tuple[RewardTable, Any]:
    domain = Domain(name="d", source=Arithmetic(), objectives={"commanded": hostile.CommandedHere(), "half": half})
    prompt = SimpleNamespace(example=Example(id="d/1", question="?", answer="4"))
    rollout: Any = SimpleNamespace(prompts=[prompt], completions=completions, group_size=len(completions))
    pending = begin_verification(rollout, [domain], workers)
    return pending.result([domain], collect_objectives([domain], "shared"), "shared", torch.device("cpu"))


COMPLETIONS = ["give 1", "raise oh", "give 0.5", "give 0"]


def test_a_failure_pays_nothing_unless_told_otherwise() -> None:
    with RewardWorkers() as workers:
        table, _ = judged(workers, COMPLETIONS)
    assert table.applies.all()
    assert table.rewards[0, :, 0].tolist() == [1, 0, 0.5, 0]
    assert table.left_out == 0


@pytest.mark.parametrize("act_on", ["loss", "reward", "advantage", "normalized_advantage"])
def test_a_failure_may_leave_the_completion_out_of_its_group(act_on: Any) -> None:
    weights = torch.tensor([1.5, 0.5])
    with RewardWorkers(failures="left_out") as workers:
        table, result = judged(workers, COMPLETIONS)
        alone, _ = judged(workers, [text for text in COMPLETIONS if "raise" not in text])
    assert result.faults == {"CommandedHere": 1}, "it is counted all the same"
    assert table.left_out == 1
    assert table.applies[0].tolist() == [[True, True], [False, False], [True, True], [True, True]]

    (with_it,) = step_advantages([table], weights, num_domains=1, scale="group", act_on=act_on)
    (without,) = step_advantages([alone], weights, num_domains=1, scale="group", act_on=act_on)
    kept = [0, 2, 3]
    torch.testing.assert_close(with_it.per_objective[:, kept], without.per_objective)
    assert not with_it.per_objective[:, 1].any()
    if act_on != "loss":
        assert with_it.combined is not None
        assert without.combined is not None
        torch.testing.assert_close(with_it.combined[:, kept], without.combined)
        assert with_it.combined[0, 1] == 0


def test_the_setting_is_bound_in_gin_and_checked() -> None:
    gin.parse_config("rewards.failures = 'left_out'")
    assert RewardWorkers().failures == "left_out"
    gin.clear_config()
    with pytest.raises(ValueError, match=r"rewards.failures must be 'zero' or 'left_out'; it is 'ignored'"):
        RewardWorkers(failures="ignored")  # type: ignore[arg-type]


def test_token_ids_end_with_the_end_token() -> None:
    rollout: Any = SimpleNamespace(
        completion_ids=torch.tensor([[5, 6, 2, 0], [7, 8, 9, 2]]),
        completion_mask=torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]),
    )
    assert [token_ids(rollout, row) for row in (0, 1)] == [(5, 6, 2), (7, 8, 9, 2)]
