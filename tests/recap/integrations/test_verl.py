"""Our verifiers and weights under the calls that verl's reward managers make; verl itself is not there."""

from __future__ import annotations

import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recap.integrations.verl import ReweightedScores, as_compute_score
from registry.example import Example
from registry.reweighting.gradnorm import GradNorm
from registry.reweighting.recap import Recap
from registry.reweighting.recap_released import RecapReleased

RECAP = {"window": 2, "temperature": 0.1}


def length(completion: str, example: Example) -> float:
    return min(1.0, len(completion) / 10)


def right(completion: str, example: Example) -> float | None:
    return None if example.metadata.get("topic") == "chat" else float(completion == example.answer)


right.quick = length.quick = True  # type: ignore[attr-defined]


def batch(rows: list[tuple[str, str, dict[str, Any]]]) -> dict[str, Any]:
    """As verl's batch reward manager calls."""
    extras = [
        {"split": "train", "index": i, "rollout_reward_scores": {}, **extra} for i, (*_, extra) in enumerate(rows)
    ]
    return {
        "data_sources": np.array(["sums"] * len(rows), dtype=object),
        "solution_strs": [solution for solution, *_ in rows],
        "ground_truths": [truth for _, truth, _ in rows],
        "extra_infos": np.array(extras, dtype=object),
    }


def test_a_verifier_as_the_naive_manager_and_the_reward_loop_call_it() -> None:
    score = as_compute_score("accuracy")
    extra = {"index": 7, "answer": "47 + 38 = 85 #### 85", "num_turns": None, "rollout_reward_scores": {}}
    given = {"data_source": "openai/gsm8k", "ground_truth": "85", "extra_info": extra}
    assert score(solution_str="<answer>85.0</answer>", **given) == 1.0
    assert score(solution_str="<answer>84</answer>", reward_router_address=None, **given) == 0.0
    assert score("openai/gsm8k", "<answer>85</answer>", "85") == 1.0


def test_it_reaches_choices_and_leaves_the_rest_as_metadata() -> None:
    seen: list[Example] = []

    def judge(completion: str, example: Example) -> float:
        seen.append(example)
        return 0.5

    judge.quick = True  # type: ignore[attr-defined]
    extra = {"index": 3, "choices": ["cat", "dog"], "difficulty": 2}
    assert as_compute_score(judge)("zoo", "dog", "B", extra) == 0.5
    assert seen[0].id == "zoo/3"
    assert (seen[0].answer, seen[0].choices, seen[0].metadata) == ("B", ("cat", "dog"), {"index": 3, "difficulty": 2})


def test_what_does_not_apply_scores_0() -> None:
    assert as_compute_score("iou")("any", "<answer>4</answer>", "4") == 0.0


def test_threads_and_copies_as_in_ray() -> None:
    score = pickle.loads(pickle.dumps(as_compute_score("accuracy")))
    answers = [rf"<answer>\sqrt{{{n}}}</answer>" for n in (12, 3, 12, 5)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda text: score("math", text, r"2\sqrt{3}"), answers))
    score.workers.close()
    assert found == [1.0, 0.0, 1.0, 0.0]


def test_scores_are_the_weighted_sums_and_the_policy_sees_the_means() -> None:
    score = ReweightedScores({"right": right, "length": length}, "recap", **RECAP)
    by_hand = Recap({"right": "reward", "length": "reward"}, **RECAP)
    moved = False
    for step in range(12):
        rows = [("4", "4", {}), ("x" * step, "4", {}), ("hello", "", {"topic": "chat"})]
        results = score(**batch(rows))
        lam = by_hand.weights
        moved = moved or abs(lam["right"] - 1) > 0.05
        lengths = [0.1, min(1.0, step / 10), 0.5]
        assert results[0]["score"] == pytest.approx(lam["right"] + 0.1 * lam["length"])
        assert results[2]["score"] == pytest.approx(0.5 * lam["length"])
        assert math.isnan(results[2]["right"])
        assert results[1]["length"] == lengths[1]
        assert {result["weight/right"] for result in results} == {lam["right"]}
        assert len({tuple(result) for result in results}) == 1, "verl's log wants the same keys in every row"
        by_hand.update({"right": 0.5, "length": math.fsum(lengths) / 3})
    assert moved, "weights that never moved show nothing"


def test_validation_is_scored_and_not_counted() -> None:
    score = ReweightedScores({"right": right, "length": length})
    before = score.policy.state_dict()
    assert score(**batch([("4", "4", {"split": "test"})]))[0]["score"] == pytest.approx(1.1)
    assert score.policy.state_dict() == before
    score(**batch([("4", "4", {})]))
    assert score.policy.state_dict() != before


def test_the_state_goes_on_where_it_was(tmp_path: Path) -> None:
    def made(file: Path | None) -> ReweightedScores:
        return ReweightedScores({"right": right, "length": length}, state=file, **RECAP)

    whole, first, file = made(None), made(tmp_path / "run" / "recap.state"), tmp_path / "run" / "recap.state"
    rows = [batch([("4", "4", {}), ("y" * (step % 7), "4", {})]) for step in range(12)]
    expected = [whole(**row) for row in rows]
    found = [first(**row) for row in rows[:5]]
    second = made(file)
    found += [second(**row) for row in rows[5:]]
    assert found == expected
    with pytest.raises(ValueError, match="window 2"):
        ReweightedScores({"right": right, "length": length}, window=3, state=file)


def test_a_policy_of_the_same_step_weighs_what_it_has_just_measured() -> None:
    score = ReweightedScores({"right": right, "length": length}, RecapReleased, temperature=0.1)
    by_hand = RecapReleased({"right": "reward", "length": "reward"}, temperature=0.1)
    for step in range(4):
        result = score(**batch([("4", "4", {}), ("z" * step, "4", {})]))[0]
        by_hand.update({"right": 0.5, "length": (0.1 + step / 10) / 2})
        assert result["weight/right"] == pytest.approx(by_hand.weights["right"])


def test_what_verl_cannot_serve_is_refused() -> None:
    with pytest.raises(ValueError, match="no verifier 'acuracy'"):
        as_compute_score("acuracy")
    with pytest.raises(ValueError, match="gradient norms"):
        ReweightedScores({"right": right}, GradNorm)
    with pytest.raises(ValueError, match="'reward' or 'shortfall'"):
        ReweightedScores({"right": right}, signal="loss")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="judges must be a mapping"):
        ReweightedScores(["accuracy"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="launch_reward_fn_async"):
        pickle.dumps(ReweightedScores({"right": right}))
