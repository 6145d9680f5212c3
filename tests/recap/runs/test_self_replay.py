"""The base model's own completions as targets: made once, found again, and made anew where anything changed."""

import json

import gin
import pytest

from recap.data.domains import Domain
from recap.data.objectives import NextTokenPrediction
from recap.experiment.config import load_config
from recap.rewards.workers import RewardWorkers
from recap.runs.self_replay import prepare_self_replay, self_replays
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL
from registry.example import MalformedExample
from registry.replay.arithmetic import Arithmetic
from registry.replay.base import MissingData
from registry.replay.files import Jsonl
from registry.replay.limit import Limit
from registry.replay.self_replay import Kept, SelfReplay
from registry.testing import check_replay_source
from registry.verifiers.accuracy import Accuracy

PROMPT = "{question} <think> </think> <answer> </answer>"


class Settings:
    """What `prepare_self_replay` asks of an experiment."""

    def __init__(self, *domains):
        self.domains = domains
        self.rewards = RewardWorkers(workers=1)
        self.rollout = type("Rollout", (), {"batch_size": 8})


def made(tmp_path, source=None, **changed):
    settings = {
        "model": TinyQwen2_5_VL(),
        "verifier": Accuracy(),
        "prompt": PROMPT,
        "examples": 12,
        "samples": 2,
        "max_new_tokens": 48,
        "folder": str(tmp_path / "cache"),
        **changed,
    }
    return SelfReplay(source or Arithmetic(seed=3), **settings)


def domain(source, prompt=PROMPT):
    return Domain(name="memory", source=source, prompt=prompt, objectives={"next_token": NextTokenPrediction()})


def prepare(*sources):
    said = []
    prepare_self_replay(Settings(*map(domain, sources)), said.append)
    return said


def test_what_the_verifier_accepts_becomes_the_target(tmp_path):
    source = made(tmp_path)
    with pytest.raises(MissingData, match=r"is not there; make it with: recap prepare"):
        source.check()
    with pytest.raises(ValueError, match="make it with: recap prepare"):
        source.take(1)
    said = prepare(Limit(source, 5))  # found within others
    assert said[-1].startswith("memory: kept ")
    source = made(tmp_path)
    source.check()
    assert 6 <= source.length <= 12, "the shipped model adds well"
    for position in range(source.length):
        example = source.example(position)
        assert Accuracy()(example.supervised_target, example) == 1
        assert example.supervised_target.startswith("<think>"), "as the model writes, not as the reference has it"
    assert len({source.example(position).id for position in range(source.length)}) == source.length
    check_replay_source(lambda: made(tmp_path), count=8)
    about = json.loads(source.file.with_suffix(".json").read_text())
    assert (about["asked"], about["kept"]) == (12, source.length)
    assert prepare(source) == [f"memory: {source.file} is there"]


def test_made_twice_it_is_the_same(tmp_path):
    for folder in ("one", "two"):
        prepare(made(tmp_path, folder=str(tmp_path / folder), examples=4))
    one, two = (next((tmp_path / folder).glob("*.jsonl")) for folder in ("one", "two"))
    assert one.name == two.name
    assert one.read_text() == two.read_text()


def rows(tmp_path, answer="a"):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"question": f"q{i}", "answer": answer}) + "\n" for i in range(4)))
    return Jsonl(str(file))


def test_the_name_holds_model_prompts_and_settings(tmp_path):
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    (weights / "model.safetensors").write_bytes(b"0" * 1_000_000)

    def files():
        return [
            made(tmp_path, rows(tmp_path), **changed).file.name
            for changed in (
                {},
                {"model": TinyQwen2_5_VL(weights=str(weights))},
                {"model": TinyQwen2_5_VL(weights="random", seed=1)},
                {"prompt": "{question}"},
                {"verifier": None},
                {"temperature": 0.5},
                {"seed": 1},
                {"threshold": 0.5},
            )
        ]

    before = files()
    assert len(set(before)) == len(before)
    assert files() == before
    (weights / "model.safetensors").write_bytes(b"0" * 999_999 + b"1")
    assert [old == new for old, new in zip(before, files(), strict=True)] == [True, False, *[True] * 6]
    rows(tmp_path, answer="b")
    again = made(tmp_path, Jsonl(str(tmp_path / "rows.jsonl"))).file.name
    assert again != before[0], "the data changed"


def test_prompts_that_changed_under_their_file_are_malformed(tmp_path):
    source = made(tmp_path, rows(tmp_path), verifier=None)
    source.write([Kept(0, "another/0", "c", 1.0)], {})
    with pytest.raises(MalformedExample, match="'another/0' is now 'rows/"):
        source.example(0)


def test_a_prompt_that_is_not_the_domains_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a target of the prompt that it was made with; set both alike"):
        prepare_self_replay(Settings(domain(made(tmp_path), "{question}")), print)


def test_nothing_accepted_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"none of the completions of 2 prompts x 2 was accepted"):
        prepare(made(tmp_path, model=TinyQwen2_5_VL(weights="random"), examples=2, max_new_tokens=4))


@pytest.mark.parametrize(
    "setting", [{"examples": 0}, {"samples": 0}, {"temperature": 0.0}, {"threshold": 0.0}, {"max_new_tokens": 0}]
)
def test_settings_refused(tmp_path, setting):
    with pytest.raises(ValueError, match=f"replay.self_replay.{next(iter(setting))} must"):
        made(tmp_path, **setting)


def test_bound_in_gin(tmp_path):
    file = tmp_path / "mine.gin"
    file.write_text(
        f"""
train.model = @backends.tiny_qwen2_5_vl()
train.domains = [@memory/Domain()]
train.steps = 1
train.reweighting = @reweighting.uniform
memory/Domain.source = @replay.self_replay()
memory/Domain.objectives = {{'next_token': @next_token_prediction()}}
replay.self_replay.source = @replay.arithmetic()
replay.self_replay.model = @backends.tiny_qwen2_5_vl()
replay.self_replay.verifier = @verifiers.accuracy()
replay.self_replay.folder = '{tmp_path / "cache"}'
"""
    )
    try:
        experiment = load_config(file).experiment
        assert [one.name for one, _ in self_replays(experiment)] == ["memory"]
        (missing,) = experiment.check()
    finally:
        gin.clear_config()
    assert "memory/Domain.source: replay.self_replay:" in missing
    assert "recap prepare" in missing
