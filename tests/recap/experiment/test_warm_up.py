"""A run that is too short for its policy is told so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from recap.cli import app
from recap.experiment.config import LoadedConfig
from recap.experiment.warm_up import weights_that_stay


@pytest.mark.parametrize(
    ("bindings", "said"),
    [
        (
            ["train.steps = 20"],
            "recap needs the signals of 20 steps, its two windows of reweighting.recap.window = 10,",
        ),
        (["train.steps = 21"], None),  # the step after the windows has the first weights of its own
        (["train.steps = 6", "reweighting.recap.window = 3"], "or with a window of 2 or less"),
        (["train.steps = 1", "train.reweighting = @reweighting.uniform"], None),  # means to be
    ],
)
def test_recap_with_fewer_steps_than_its_two_windows_is_uniform_and_says_so(
    small: Callable[..., LoadedConfig], bindings: list[str], said: str | None
) -> None:
    found = weights_that_stay(small(*bindings).experiment)
    assert [said in line for line in found] == ([True] if said else [])


def test_check_says_so() -> None:
    result = CliRunner().invoke(app, ["check", "quickstart", "-b", "train.steps = 2"])
    assert "note: recap needs the signals of 20 steps" in result.output
    assert "stay uniform throughout" in result.output
