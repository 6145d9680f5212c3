"""How a model decodes is settled on all processes together, also where one of them has nothing to decode.

Started by torchrun, this file takes a step of which rank 1 gets no prompt, with a fault on that rank alone:
`torchrun ... test_first_use.py OUTPUT BINDINGS`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import recap.model.decoding
from recap.data.prompts import Asking
from recap.experiment.config import LoadedConfig, load_config
from recap.learning.trainer import Trainer
from recap.model.decoding import decoding_way
from recap.model.ways import metrics, tags, ways_taken
from recap.sampling.first_use import first_prompts
from registry.backends.base import LoadedModel
from registry.example import Example, MalformedExample
from registry.replay.arithmetic import Arithmetic
from registry.replay.base import ReplaySource
from registry.replay.grounding import Grounding
from tests.processes import torchrun

ROOT = Path(__file__).resolve().parents[3]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Part(Asking):
    source: ReplaySource


class Spoilt(Arithmetic):
    """Rows that cannot be read up to a position."""

    def __init__(self, usable_from: int) -> None:
        super().__init__()
        self.usable_from = usable_from

    def example(self, position: int) -> Example:
        if position < self.usable_from:
            raise MalformedExample("no")
        return super().example(position)


def questions(loaded: LoadedModel, *parts: Part) -> list[str]:
    encoded = first_prompts(loaded, parts, CPU)
    return [text.strip() for text in loaded.decode(encoded.inputs["input_ids"].tolist())]


def test_the_first_prompts_that_can_be_read_are_compared(random_tiny: LoadedModel) -> None:
    first, third = (Arithmetic().example(position).question for position in (0, 2))
    (one, two) = questions(random_tiny, Part(Arithmetic(), prompt="hear: {question}"), Part(Spoilt(2)))
    assert f"hear: {first}" in one
    assert third in two


def test_where_none_can_be_read_another_prompt_stands_in(random_tiny: LoadedModel) -> None:
    (one,) = questions(random_tiny, Part(Spoilt(1000)))
    assert "17 + 25" in one
    assert "pixel_values" in first_prompts(random_tiny, [Part(Spoilt(1000))], CPU).inputs


def test_sources_stay_where_they_are(random_tiny: LoadedModel) -> None:
    source = Grounding()
    first_prompts(random_tiny, [Part(source)], CPU)
    assert source.position == 0
    assert source.malformed.total() == 0


def test_the_way_is_known_before_anything_is_sampled(small: Callable[..., LoadedConfig]) -> None:
    trainer = Trainer(small().experiment)
    assert decoding_way(trainer.loaded.model) is None
    trainer.models.ready_to_sample()
    settled = decoding_way(trainer.loaded.model)
    assert settled is not None
    trainer.step()
    assert decoding_way(trainer.loaded.model) is settled


def test_nothing_is_compared_where_nothing_is_sampled(small: Callable[..., LoadedConfig]) -> None:
    domains = ("train.domains = [@reading/Domain()]", "train.mixture = @mixtures.uniform()")
    trainer = Trainer(small(*domains).experiment)
    trainer.step()
    assert decoding_way(trainer.loaded.model) is None


def test_processes_take_one_way_though_one_has_no_prompt(small_bindings: list[str], tmp_path: Path) -> None:
    bindings = [
        *small_bindings,
        "train.domains = [@counting/Domain(), @reading/Domain()]",
        "train.mixture = @mixtures.uniform()",
        "train.prompts_per_step = 2",
    ]
    done = torchrun(__file__, str(tmp_path / "found"), json.dumps(bindings))
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"found-{rank}").read_text()) for rank in range(2))
    assert first["prompts"] == [1, 0]
    assert second["prompts"] == [0, 1]
    for found in (first, second):
        assert found["tags"]["way/decoding"] == "rows"
        assert found["metrics"]["way/decoding/fell_back"] == 1
    assert "another process" in first["tags"]["way/decoding/fallback"]
    assert "only here" in second["tags"]["way/decoding/fallback"]


def two_steps(bindings: list[str]) -> dict[str, Any]:
    trainer = Trainer(load_config(ROOT / "experiments" / "quickstart.gin", bindings, allow_unused=True).experiment)
    original = recap.model.decoding.DecodeBatch

    def faulty(model: Any, prompts: Any, cache: Any, group: int, steps: int, way: Any) -> Any:
        if trainer.accelerator.process_index == 1 and way == "shared":
            raise RuntimeError("only here")
        return original(model, prompts, cache, group, steps, way)

    recap.model.decoding.DecodeBatch = faulty  # type: ignore[assignment, misc]
    prompts = []
    with trainer.experiment.rewards:
        for _ in range(2):
            prompts.append(sum(len(rollout.prompts) for rollout in trainer.step().batch.rollouts))
            trainer.prefetch.take_back()
            trainer.intake.domains.reverse()  # now the other rank gets what is sampled for
    ways = ways_taken(trainer.loaded.model, trainer.accelerator.unwrap_model(trainer.models.scorer))
    return {"prompts": prompts, "tags": tags(ways), "metrics": metrics(ways)}


if __name__ == "__main__":
    found = two_steps(json.loads(sys.argv[2]))
    Path(f"{sys.argv[1]}-{os.environ['RANK']}").write_text(json.dumps(found))
