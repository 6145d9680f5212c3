from __future__ import annotations

import pytest
from accelerate import Accelerator

from recap.evaluation.capabilities import Capability, evaluate
from recap.rewards.workers import RewardWorkers
from registry.backends.base import LoadedModel
from registry.example import Example
from registry.replay.arithmetic import Arithmetic


class EveryOther:
    """1, 0, 1, 0, ... by the example's place."""

    def __call__(self, completion: str, example: Example) -> float:
        return float(int(example.id.split("/")[-1]) % 2 == 0)


def test_score_and_standard_error(random_tiny: LoadedModel) -> None:
    capability = Capability(
        name="sums",
        source=Arithmetic(split="held_out"),
        verifier=EveryOther(),
        examples=6,
        max_new_tokens=4,
        batch_size=4,
    )
    random_tiny.model.train()
    with RewardWorkers(workers=1) as workers:
        scores = evaluate(random_tiny, [capability], workers, Accelerator(cpu=True))
        again = evaluate(random_tiny, [capability], workers, Accelerator(cpu=True))
    assert random_tiny.model.training
    assert scores == again
    assert scores["sums"].score == 0.5
    assert scores["sums"].examples == 6
    assert scores["sums"].standard_error == pytest.approx((0.25 / 6) ** 0.5)
    assert 0 <= scores["sums"].formatted <= 1


def test_a_prompt_must_hold_the_question() -> None:
    with pytest.raises(ValueError, match=r"must contain \{question\}"):
        Capability(name="x", source=Arithmetic(), verifier=EveryOther(), prompt="nothing")
