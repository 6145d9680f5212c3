"""`recap describe` of what is not in a registry."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from recap.cli import app


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["train"], "train.steps"),
        (["Domain"], "Domain.source"),
        (["Capability"], "Capability.verifier"),
        (["rollout"], "rollout.group_size"),
        (["grpo"], "grpo.iterations"),
        (["adamw"], "adamw.learning_rate"),
        (["tracking"], "tracking.experiment"),
        (["mixtures", "quotas"], "mixtures.quotas."),
    ],
)
def test_settings_are_described_with_what_can_be_bound(words: list[str], shown: str) -> None:
    result = CliRunner().invoke(app, ["describe", *words])
    assert result.exit_code == 0, result.output
    assert f"\n  {shown}" in result.output


def test_an_unknown_name_says_what_there_is() -> None:
    result = CliRunner().invoke(app, ["describe", "rolout"])
    assert result.exit_code != 0
    assert "did you mean rollout?" in result.output


def test_examples_are_of_the_source_as_a_file_makes_it(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"q": "{i}+1=?", "a": "{i + 1}"}}\n' for i in range(5)) + "{bad\n")
    (tmp_path / "mine.gin").write_text(
        f"""
include 'experiments/models/tiny_qwen2_5_vl.gin'
mine/Domain.source = @replay.jsonl()
replay.jsonl.path = '{tmp_path}/rows.jsonl'
replay.jsonl.columns = {{'question': 'q', 'answer': 'a'}}
replay.jsonl.shuffle = False
mine/Domain.objectives = {{'next_token': @next_token_prediction()}}
train.domains = [@mine/Domain()]
train.reweighting = @reweighting.uniform
train.steps = 2
"""
    )
    asked = ["describe", "replay", "jsonl", "--file", str(tmp_path / "mine.gin")]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert "mine/Domain.source: 6 examples, for instance:" in result.output
    assert [f"'{i}+1=?' -> " in result.output for i in range(4)] == [True, True, True, False]
    wrong = CliRunner().invoke(app, [*asked, "-b", "replay.jsonl.columns = {'question': 'q', 'answer': 'x'}"])
    assert wrong.exit_code == 2
    assert "has no column 'x', for answer" in wrong.output
    assert "bound by -b" in wrong.output


@pytest.mark.parametrize("written", ["reweighting.recap", "@reweighting.recap()"])
def test_a_part_may_be_named_as_in_gin(written: str) -> None:
    assert "reweighting.recap.window = 10" in CliRunner().invoke(app, ["describe", written]).output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["reweighting"], "reweighting is a family: recap list reweighting"),
        (["recap"], "recap describe reweighting recap"),
        (["quotas"], "did you mean mixtures quotas?"),
        (["train", "steps"], "did you mean train?"),
        (
            ["replay", "grounding", "--file", "quickstart", "-b", "train.domains = [@reading/Domain()]"],
            "no source of the",
        ),
        (["reweighting", "recap", "--file", "quickstart"], "--file shows examples of replay sources"),
    ],
)
def test_half_a_name_says_what_the_whole_one_is(words: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["describe", *words, "-b", "train.capabilities = []"])
    assert result.exit_code == 2
    assert said in result.output
