from __future__ import annotations

import weakref

import pytest
from accelerate import Accelerator
from PIL import Image

from recap.evaluation.capabilities import Capability, evaluate
from recap.rewards.workers import RewardWorkers
from registry.backends.base import LoadedModel
from registry.example import Example
from registry.replay.arithmetic import Arithmetic
from registry.replay.base import ReplaySource


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


class Pictures(ReplaySource):
    """Examples with a picture each; knows how many of them were alive at once."""

    length = None

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.most = 0

    def example(self, position: int) -> Example:
        image = Image.new("RGB", (28, 28))
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(image, self.gone)
        return Example(id=f"pictures/{position}", question="what?", answer="", images=(image,), file_size=image.size)

    def gone(self) -> None:
        self.alive -= 1


def test_pictures_are_held_for_their_batch_alone(random_tiny: LoadedModel) -> None:
    source = Pictures()
    capability = Capability(
        name="sight", source=source, verifier=EveryOther(), examples=24, max_new_tokens=2, batch_size=3
    )
    with RewardWorkers(workers=1) as workers:
        scores = evaluate(random_tiny, [capability], workers, Accelerator(cpu=True))
    assert scores["sight"].examples == 24
    assert source.most <= 2 * capability.batch_size  # one batch is asked while the one before is judged
    assert source.alive == 0
