"""The next step's prompts, fetched while this one trains: nothing but the time that it takes is different."""

from __future__ import annotations

import copy
import json
import threading
import time
import timeit
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from recap.experiment.config import LoadedConfig
from recap.learning.intake import Intake
from recap.learning.passes import ReinforcementPass
from recap.learning.prefetch import Prefetch, reader_of
from recap.learning.trainer import Trainer
from recap.parallel.local_work import stop
from registry.example import Example
from registry.replay.arithmetic import Arithmetic

Small = Callable[..., LoadedConfig]
BOTH = (
    "train.domains = [@first/Domain(), @second/Domain()]",
    "first/Domain.source = @replay.jsonl()",
    "first/Domain.objectives = {'tags': @verifiers.answer_format(), 'imitated': @next_token_prediction()}",
    "second/Domain.source = @replay.counting()",
    "second/Domain.objectives = {'exact': @verifiers.exact_match()}",
    "train.accumulation_steps = 2",
    "train.mixture = @mixtures.uniform()",
)
ONE = (
    "train.domains = [@arithmetic/Domain()]",
    "arithmetic/Domain.source = @replay.arithmetic()",
    "train.mixture = @mixtures.uniform()",
)
CASES: dict[str, tuple[str, ...]] = {
    "malformed rows": (),
    "alternate": ("train.mixture = @mixtures.alternate()",),
    "an end": ("first/Domain.at_end = 'end_run'", "replay.jsonl.shuffle = False"),
    "parts": ("rollout.batch_size = 3", "scoring.max_tokens = 200"),
}


@pytest.fixture
def rows(tmp_path: Path) -> str:
    """21 rows, of which one cannot be read, one has a picture that no processor takes, and one no picture that can be found."""
    Image.new("RGB", (900, 3)).save(tmp_path / "thin.png")
    found: list[dict[str, Any]] = [{"question": f"{n}+1=?", "answer": str(n + 1)} for n in range(18)]
    for place, bad in (
        (3, {"question": None}),
        (6, {"question": "what?", "image": "thin.png"}),
        (13, {"question": "what?", "image": "gone.png"}),
    ):
        found.insert(place, {"answer": "3", **bad})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, found)))
    return f"replay.jsonl.path = '{tmp_path}/rows.jsonl'"


def taken(trainer: Trainer, steps: int) -> list[Any]:
    """What a run of some steps leaves behind after each: metrics, completions, where the sources stand, weights."""
    found = []
    for _ in range(steps):
        if trainer.experiment.over(trainer.step_number):
            break
        result = trainer.step()
        timeless = {name: value for name, value in result.metrics.items() if "second" not in name}
        completions = [rollout.completions for rollout in result.batch.rollouts]
        states = {domain.name: domain.source.state_dict() for domain in trainer.domains}
        assert trainer.prefetch.states() == states
        weights = sum(float(parameter.detach().double().sum()) for parameter in trainer.models.trained_parameters)
        found.append((timeless, completions, json.dumps(states), weights))
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_that_without(small: Small, monkeypatch: pytest.MonkeyPatch, rows: str, case: str) -> None:
    bindings = (*BOTH, rows, *CASES[case])
    where: list[str] = []
    intake = Intake.__call__

    def noted(self: Intake, step: int) -> Any:
        where.append(f"{step} in {threading.current_thread().name}")
        return intake(self, step)

    monkeypatch.setattr(Intake, "__call__", noted)
    steps = 9 if case == "an end" else 4
    ahead = taken(Trainer(small(*bindings, f"train.steps = {steps}").experiment), steps)
    last = len(ahead)
    assert last == (6 if case == "an end" else steps)
    assert where == ["0 in MainThread", *(f"{step} in recap-intake-{step + 1}" for step in range(1, last))]
    monkeypatch.setattr(Prefetch, "begin", lambda self, step: None)
    where.clear()
    assert taken(Trainer(small(*bindings, f"train.steps = {steps}").experiment), steps) == ahead
    assert where == [f"{step} in MainThread" for step in range(last)]


def test_it_is_taken_back(small: Small, rows: str) -> None:
    """Other settings of the sources, as of an older checkpoint, are those that the next step is drawn from."""
    trainer = Trainer(small(*BOTH, rows).experiment)
    states = trainer.prefetch.states()
    first = trainer.step().batch
    trainer.prefetch.load(states)
    trainer.step_number = 0
    assert trainer.prefetch.states() == states
    again = trainer.draw()
    assert [prompt.example.id for part in again.reinforced for _, prompt in part.drawn] == [
        prompt.example.id for rollout in first.rollouts for prompt in rollout.prompts
    ]


def test_what_sources_remember_is_copied_once_a_step_and_quickly(small: Small) -> None:
    """As a filter does, which remembers every position that it kept; here a source that shares what it hands out."""

    class Remembers(Arithmetic):
        def __init__(self) -> None:
            super().__init__()
            self.kept = [*range(100_000)]

        def take(self, *share: int) -> list[Example]:
            self.kept.append(self.position)
            return super().take(*share)

        def state_dict(self) -> dict[str, Any]:
            return super().state_dict() | {"kept": self.kept}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            super().load_state_dict(state)
            self.kept = state["kept"]

    def seconds(work: Callable[[], Any]) -> float:
        return min(timeit.repeat(work, timer=time.process_time, number=1, repeat=5))

    config = small(*ONE)
    [domain] = config.experiment.domains
    object.__setattr__(domain, "source", Remembers())
    trainer = Trainer(config.experiment)
    prefetch, before = trainer.prefetch, trainer.prefetch.states()
    assert seconds(prefetch.states) < seconds(lambda: copy.deepcopy(before)) / 2
    trainer.step()
    assert prefetch.states() is prefetch.states(), "those of the step that was read ahead"
    assert domain.source.kept[-2:] == [0, 8]
    for _ in range(2):
        assert len(before["arithmetic"]["kept"]) == 100_000
        prefetch.load(before)
        domain.source.take(1)
        assert domain.source.kept[-2:] == [99_999, 0]


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_what_is_raised_ahead_is_raised_at_its_step(
    small: Small, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    original = Arithmetic.example

    def example(self: Arithmetic, position: int) -> Example:
        if position == 9:
            raise kind("out of luck")
        return original(self, position)

    trainer = Trainer(small(*ONE).experiment)
    monkeypatch.setattr(Arithmetic, "example", example)
    assert trainer.step().updated
    assert trainer.domains[0].source.position == 8
    with pytest.raises(kind, match="out of luck"):
        trainer.step()


def test_a_slow_source_does_not_hold_up_who_was_asked_to_stop(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint is of the state before what was under way."""
    goes_on, original = threading.Event(), Arithmetic.example

    def example(self: Arithmetic, position: int) -> Example:
        if position >= 8:
            stop.requested = True  # a signal while it waits
            goes_on.wait(60)
        return original(self, position)

    trainer = Trainer(small(*ONE).experiment)
    monkeypatch.setattr(Arithmetic, "example", example)
    monkeypatch.setattr(stop, "requested", False)
    trainer.prefetch.begin(0)
    trainer.prefetch.settle()
    trainer.draw()
    trainer.prefetch.begin(1)
    trainer.prefetch.settle()
    states = trainer.prefetch.states()
    trainer.prefetch.load(states)
    goes_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("recap-intake"):
            thread.join()
    assert trainer.prefetch.states() == states
    assert states["arithmetic"]["position"] == 8


def test_a_step_that_is_passed_over_is_not_read(small: Small) -> None:
    trainer = Trainer(small("train.steps = 4").experiment)
    read: list[int] = []
    trainer.prefetch.watch = read.append
    trainer.prefetch.passes_over = lambda step: step == 3
    trainer.step()
    trainer.step()
    assert read == [2, 1]


def test_a_reader_shares_the_model_and_nothing_that_reads(small: Small) -> None:
    loaded = small().experiment.load_model()
    reader = reader_of(loaded)
    assert reader.model is loaded.model
    assert reader.tokenizer is not loaded.tokenizer
    examples = [Example("", "<|im_end|>", "1"), Example("", "2", "2", (Image.new("RGB", (80, 60), "red"),))]
    texts = [example.question for example in examples]
    ours, theirs = (one.encode(texts, examples, torch.device("cpu")) for one in (reader, loaded))
    assert ours.inputs.keys() == theirs.inputs.keys()
    assert all(torch.equal(ours.inputs[name], theirs.inputs[name]) for name in ours.inputs)


class Half:
    """A verifier by which every other group has a gradient."""

    quick = True

    def __call__(self, completion: str, example: Example) -> float:
        return zlib.crc32(completion.encode()) % 1000 / 1000 * (zlib.crc32(example.id.encode()) % 2)


@pytest.mark.parametrize("parts", [1, 4])
def test_pictures_are_processed_once(small: Small, monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    """Also of a micro-batch that is a part of what was decoded together, or has lost the groups without a gradient."""
    pictures = ("train.domains = [@counting/Domain()]", "train.mixture = @mixtures.uniform()")
    trainer = Trainer(small(*pictures, f"train.accumulation_steps = {parts}").experiment)
    trainer.domains[0].objectives["accuracy"] = Half()  # type: ignore[index]
    trainer.get_ready()
    prompts = trainer.draw()
    monkeypatch.setattr(type(trainer.loaded), "encode", lambda *_, **__: pytest.fail("encoded anew"))
    batch = trainer.verify(trainer.roll_out(prompts), prompts)
    counts, _ = trainer.count(batch)
    passes = trainer.passes(batch, counts, trainer.reweighting.weights)
    sizes = [len(one.item.encoded) for one in passes if isinstance(one, ReinforcementPass)]
    assert 0 < sum(sizes) < 8
