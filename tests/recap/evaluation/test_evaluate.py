"""Evaluation: what is kept of every example, by batch, with samples, and the same on one process and on two.

Started by torchrun, this file evaluates on its processes: `torchrun ... test_evaluate.py OUTPUT`.
"""

from __future__ import annotations

import os
import pickle
import sys
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from recap.evaluation.capabilities import Capability
from recap.evaluation.evaluate import evaluate, evaluation_seed
from recap.evaluation.outcomes import Outcomes, read_outcomes, write_outcomes
from recap.evaluation.scores import score_of
from recap.rewards.workers import RewardWorkers
from registry.backends.base import LoadedModel
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL
from registry.example import Example, MalformedExample
from registry.replay.arithmetic import Arithmetic
from registry.replay.base import ReplaySource
from registry.replay.counting import Counting
from registry.verifiers.accuracy import Accuracy
from registry.verifiers.answers import answer_of
from tests.processes import torchrun


class EveryOther:
    """1, 0, 1, 0, ... by the example's place."""

    quick = True

    def __call__(self, completion: str, example: Example) -> float:
        return float(int(example.id.split("/")[-1]) % 2 == 0)


def run(loaded: LoadedModel, *capabilities: Capability, **where: int) -> Outcomes:
    with RewardWorkers(workers=1) as workers:
        return evaluate(loaded, capabilities, workers, Accelerator(cpu=True), **where)


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
    outcomes = run(random_tiny, capability)
    again = run(random_tiny, capability)
    assert random_tiny.model.training
    assert outcomes == again
    score = score_of(outcomes["sums"])
    assert score.score == 0.5
    assert score.examples == 6
    assert score.standard_error == pytest.approx((0.25 / 6) ** 0.5)
    assert 0 <= score.formatted <= 1
    assert 1 <= score.tokens <= 4


def test_what_is_kept_of_an_example(random_tiny: LoadedModel) -> None:
    source = Arithmetic(split="held_out")
    rows = run(random_tiny, Capability(name="sums", source=source, verifier=EveryOther(), examples=3, max_new_tokens=4))
    examples = [source.example(position) for position in range(3)]
    assert [row.position for row in rows["sums"]] == [0, 1, 2]
    assert [(row.example, row.question, row.reference) for row in rows["sums"]] == [
        (example.id, example.question, example.answer) for example in examples
    ]
    assert [row.score for row in rows["sums"]] == [1, 0, 1]
    for row in rows["sums"]:
        ids = random_tiny.tokenizer(row.completion, add_special_tokens=False)["input_ids"]
        assert row.tokens == len(ids) + (not row.truncated)  # and the end token
        assert row.formatted == (answer_of(row.completion, examples[row.position]) is not None)


@dataclass
class Once(ReplaySource):
    """A table of a few rows, one of which is malformed."""

    rows: int = 5

    def __post_init__(self) -> None:
        super().__init__()

    @property
    def length(self) -> int:
        return self.rows

    def example(self, position: int) -> Example:
        row = position % self.rows
        if row == 3:
            raise MalformedExample("row 3: no picture")
        return Example(id=f"once/{row}", question=f"{row}?", answer="1", choices=("a", "b", "c", "d"))


def test_a_source_with_fewer_examples_is_read_once(random_tiny: LoadedModel) -> None:
    rows = run(random_tiny, Capability(name="few", source=Once(), verifier=EveryOther(), max_new_tokens=2))["few"]
    assert [row.position for row in rows] == [0, 1, 2, 4]
    assert {row.chance for row in rows} == {0.25}
    score = score_of(rows)
    assert score.examples == 4
    assert score.standard_error == pytest.approx((0.75 * 0.25 / 4) ** 0.5)  # not of 256


def test_a_lost_format_is_no_lost_skill(random_tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers without tags score 0 strictly, and what they are worth leniently."""
    said = iter(["<answer>4</answer>", "it is 4", "it is 5", "<answer>5</answer> 4"])
    monkeypatch.setattr(type(random_tiny), "decode", lambda self, ids: [next(said) for _ in ids])

    class Fours(Once):
        def example(self, position: int) -> Example:
            return Example(id=f"fours/{position}", question="2 + 2?", answer="4")

    capability = Capability(name="fours", source=Fours(rows=4), verifier=Accuracy(), max_new_tokens=2)
    rows = run(random_tiny, capability)["fours"]
    assert [row.score for row in rows] == [1, 0, 0, 0]
    assert [row.lenient for row in rows] == [1, 1, 0, 0]
    assert [row.formatted for row in rows] == [True, False, False, True]


def test_samples_have_keys_of_their_own(random_tiny: LoadedModel) -> None:
    capability = Capability(
        name="sums", source=Arithmetic(), verifier=EveryOther(), examples=3, max_new_tokens=6, batch_size=2, samples=3
    )
    rows = run(random_tiny, capability)["sums"]
    assert [(row.position, row.sample) for row in rows] == [(p, s) for p in range(3) for s in range(4)]

    def sampled(outcomes: Outcomes) -> list[str]:
        return [row.completion for row in outcomes["sums"] if row.sample]

    assert sampled(run(random_tiny, capability)) == sampled({"sums": rows})
    assert sampled(run(random_tiny, capability, step=1)) != sampled({"sums": rows})
    assert sampled(run(random_tiny, capability, seed=1)) != sampled({"sums": rows})
    greedy = run(random_tiny, replace(capability, samples=0))["sums"]
    assert greedy == [row for row in rows if not row.sample]
    assert evaluation_seed(0, "sums") not in (0, evaluation_seed(0, "words"), evaluation_seed(1, "sums"))


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
    assert len(run(random_tiny, capability)["sight"]) == 24
    assert source.most <= 2 * capability.batch_size  # one batch is asked while the one before is judged
    assert source.alive == 0


def test_a_file_gives_back_what_was_written(random_tiny: LoadedModel, tmp_path: Path) -> None:
    capability = Capability(name="few", source=Once(), verifier=Not(), max_new_tokens=2, samples=2)
    outcomes = run(random_tiny, capability)
    file = tmp_path / "outcomes" / "step-000000.parquet"
    write_outcomes(file, outcomes, {"seed": 3, "settings": {"steps": "5"}})
    assert read_outcomes(file) == (outcomes, {"seed": 3, "settings": {"steps": "5"}})
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(file.read_bytes()[:100])
    for path in (torn, tmp_path / "absent.parquet"):
        with pytest.raises(ValueError, match=f"{path.name}: no file of outcomes"):
            read_outcomes(path)


class Not:
    """Does not apply to every other example."""

    quick = True

    def __call__(self, completion: str, example: Example) -> float | None:
        return None if EveryOther()(completion, example) else 0.25


def on_processes() -> list[Capability]:
    """Unequal shares, malformed rows, pictures and samples."""
    return [
        Capability(name="few", source=Once(), verifier=EveryOther(), max_new_tokens=8, samples=2),
        Capability(name="count", source=Counting(), verifier=Accuracy(), examples=7, max_new_tokens=24, batch_size=3),
    ]


@pytest.mark.parametrize("processes", [2])
def test_two_processes_find_what_one_finds(processes: int, tmp_path: Path) -> None:
    done = torchrun(__file__, str(tmp_path), processes=processes)
    assert done.returncode == 0, done.stderr[-3000:]
    here = run(TinyQwen2_5_VL().load(), *on_processes())
    for rank in range(processes):
        assert pickle.loads((tmp_path / str(rank)).read_bytes()) == here


def main(output: Path) -> None:
    torch.set_num_threads(1)
    found: Any = run(TinyQwen2_5_VL().load(), *on_processes())
    (output / os.environ["RANK"]).write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
