"""`recap describe` of what is not in a registry."""

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
