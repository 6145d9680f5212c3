"""The prompts of a step: drawn, encoded, and without those that the model cannot read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from recap.experiment.config import LoadedConfig
from recap.learning.intake import HOPELESS, Intake
from recap.learning.trainer import Trainer

Small = Callable[..., LoadedConfig]

POISON: dict[str, dict[str, Any]] = {
    "thin": {"question": "what?", "answer": "3", "image": "thin.png"},
    "surrogate": {"question": "half \ud800", "answer": "3"},
    "surrogate target": {"question": "1+2=?", "answer": "half \ud800"},
    "long": {"question": "a" * 100_000, "answer": "3"},
    "long target": {"question": "1+2=?", "answer": "a" * 100_000},
    "null": {"question": None, "answer": "3"},
    "not a number": {"question": float("nan"), "answer": "3"},
}
ODD: dict[str, dict[str, Any]] = {
    "pad": {"question": "what is <|image_pad|>?", "answer": "<|image_pad|> is <|vision_start|>"},
    "end": {"question": "<|im_end|>", "answer": "<|im_end|>"},
    "dot": {"question": "what?", "answer": "3", "image": "dot.png"},
    "cmyk": {"question": "what?", "answer": "3", "image": "cmyk.jpg"},
    "huge": {"question": "what?", "answer": "3", "image": "huge.png"},
}


def write(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> None:
    Image.new("RGB", (900, 3)).save(folder / "thin.png")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("CMYK", (30, 20)).save(folder / "cmyk.jpg")
    Image.new("RGB", (5000, 4000)).save(folder / "huge.png")
    (folder / name).write_text("\n".join(json.dumps(row) for row in rows))


def bindings(folder: Path, *objectives: str) -> list[str]:
    kinds = {"imitated": "@next_token_prediction()", "rewarded": "@verifiers.answer_format()"}
    chosen = ", ".join(f"'{name}': {kinds[name]}" for name in objectives or kinds)
    return [
        f"replay.jsonl.path = '{folder}/rows.jsonl'",
        "replay.jsonl.shuffle = False",
        "train.mixture = @mixtures.uniform()",
        "train.domains = [@file/Domain()]",
        "file/Domain.source = @replay.jsonl()",
        f"file/Domain.objectives = {{{chosen}}}",
    ]


def ordinary(count: int) -> list[dict[str, Any]]:
    return [{"question": f"{n}+1=?", "answer": str(n + 1)} for n in range(count)]


@pytest.mark.parametrize("objective", ["imitated", "rewarded"])
@pytest.mark.parametrize("name", list(POISON))
def test_a_poison_example_is_skipped_counted_and_listed(
    small: Small, tmp_path: Path, name: str, objective: str
) -> None:
    """The step is that of the rows around it; what is wrong with a target alone does not matter where none is imitated."""
    rows = ordinary(8)
    rows[3] = POISON[name]
    write(tmp_path, rows)
    trainer = Trainer(small(*bindings(tmp_path, objective)).experiment)
    result = trainer.step()
    used = "target" in name and objective == "rewarded"
    malformed = trainer.domains[0].source.malformed
    assert malformed.total() == (0 if used else 1)
    assert all(f"{tmp_path}/rows.jsonl, line 4: " in message for message in malformed.listed)
    assert result.updated
    assert all(torch.isfinite(torch.tensor(value)) for value in result.metrics.values())
    items = result.batch.rollouts if objective == "rewarded" else result.batch.supervised
    assert sum(len(item.encoded) for item in items) == (8 if used else 7)


@pytest.mark.parametrize("name", list(ODD))
def test_what_only_looks_like_poison_is_trained_on(small: Small, tmp_path: Path, name: str) -> None:
    rows = ordinary(8)
    rows[3] = ODD[name]
    write(tmp_path, rows)
    trainer = Trainer(small(*bindings(tmp_path)).experiment)
    result = trainer.step()
    assert trainer.domains[0].source.malformed.total() == 0
    assert result.updated
    assert sum(len(item.encoded) for item in result.batch.supervised) == 8
    assert all(torch.isfinite(torch.tensor(value)) for value in result.metrics.values())


def test_an_example_with_two_kinds_of_objectives_is_counted_once(small: Small, tmp_path: Path) -> None:
    write(tmp_path, [*ordinary(6), POISON["thin"], POISON["surrogate"]])
    trainer = Trainer(small(*bindings(tmp_path)).experiment)
    assert len(trainer.draw().drawn) == 6
    assert trainer.domains[0].source.malformed.total() == 2


def test_a_step_in_which_nothing_can_be_read(small: Small, tmp_path: Path) -> None:
    write(tmp_path, [*ordinary(8), *[POISON["thin"]] * 8])
    trainer = Trainer(small(*bindings(tmp_path)).experiment)
    trainer.step()
    before = [parameter.clone() for parameter in trainer.models.trained_parameters]
    result = trainer.step()
    assert result.batch.rollouts == result.batch.supervised == []
    assert result.metrics["loss"] == 0
    trainer.step()  # the rows that can be read once more
    assert not all(map(torch.equal, before, trainer.models.trained_parameters))


def test_a_domain_of_which_nothing_can_be_read_is_an_error(small: Small, tmp_path: Path) -> None:
    write(tmp_path, ordinary(8))
    too_few = "file/Domain.max_prompt_tokens = 4"  # the chat format and one character
    trainer = Trainer(small(*bindings(tmp_path), too_few).experiment)
    for _ in range(HOPELESS // 8 - 1):
        trainer.draw()
    with pytest.raises(
        ValueError, match=f"file: none of the first {HOPELESS} examples can be read.*prompt of 8 tokens"
    ):
        trainer.draw()


def test_what_cannot_be_asked_is_said_before_the_first_step(small: Small, tmp_path: Path) -> None:
    write(tmp_path, ordinary(8))
    with pytest.raises(
        ValueError, match=r"file/Domain: a prompt of one character has 4 tokens, and .*max_prompt_tokens = 3"
    ):
        Trainer(small(*bindings(tmp_path), "file/Domain.max_prompt_tokens = 3").experiment)
    with pytest.raises(ValueError, match="the model's context of 1024 tokens, less 1024 of the completion"):
        Trainer(small(*bindings(tmp_path), "rollout.max_new_tokens = 1024").experiment)


def test_a_long_prompt_is_cut_and_counted(small: Small, tmp_path: Path) -> None:
    write(tmp_path, [*ordinary(7), POISON["long"]])
    trainer = Trainer(small(*bindings(tmp_path), "file/Domain.long_prompts = 'cut'").experiment)
    result = trainer.step()
    assert result.metrics["prompts_cut"] == 1
    assert trainer.domains[0].source.malformed.total() == 0
    assert max(rollout.encoded.attention_mask.shape[1] for rollout in result.batch.rollouts) == 1024 - 8


def test_a_prompt_and_its_target_fit_the_context_together(small: Small, tmp_path: Path) -> None:
    write(tmp_path, [{"question": "a" * 500, "answer": "b" * 600}, *ordinary(7)])
    trainer = Trainer(small(*bindings(tmp_path, "imitated")).experiment)
    assert len(trainer.draw().drawn) == 7
    assert "prompt of 503 tokens, at most 421" in trainer.domains[0].source.malformed.listed[0]


def test_it_may_run_ahead_and_be_taken_back(small: Small, tmp_path: Path) -> None:
    """The sources' state from before it leads to the same prompts and the same counts again."""
    write(tmp_path, [*ordinary(10), POISON["thin"], POISON["null"]])
    experiment = small(*bindings(tmp_path), "replay.jsonl.shuffle = True").experiment
    intake = Intake(experiment, Trainer(experiment).loaded, rank=0, processes=1)
    source = intake.domains[0].source
    intake(0)
    state = json.loads(json.dumps(source.state_dict()))
    ahead, counts = intake(1), source.malformed.state_dict()
    source.load_state_dict(state)
    again = intake(1)
    assert [prompt for _, prompt in again.drawn] == [prompt for _, prompt in ahead.drawn]
    assert source.malformed.state_dict() == counts


def test_system_prompt_shots_and_arguments_reach_rollout_and_targets(small: Small, tmp_path: Path) -> None:
    """Also where a micro-batch encodes its prompts anew."""
    write(tmp_path, ordinary(8))
    asked = [
        "file/Domain.system = 'be brief'",
        "file/Domain.shots = [('2+2=?', '4')]",
        "file/Domain.prompt = 'add: {question}'",
        "train.accumulation_steps = 4",
        "grpo.skip_zero_advantage = False",
    ]
    trainer = Trainer(small(*bindings(tmp_path), *asked).experiment)
    prompts = trainer.draw()
    batch = trainer.verify(trainer.roll_out(prompts), prompts)
    counts, _ = trainer.count(batch)
    found: list[str] = []
    for one in trainer.passes(batch, counts, trainer.reweighting.weights):
        encoded = one.item.encoded  # type: ignore[union-attr]
        rows = zip(encoded.inputs["input_ids"], encoded.attention_mask.bool(), strict=True)
        found += [trainer.loaded.tokenizer.decode(ids[real]) for ids, real in rows]
    turn = "<|im_start|>{}<|im_end|>"
    expected = [
        turn.format("be brief")
        + turn.format("add: 2+2=?")
        + turn.format("4")
        + turn.format(f"add: {n}+1=?")
        + "<|im_start|>"
        for n in range(8)
    ]
    assert sorted(found) == sorted(expected * 2)  # once sampled for, once imitated
