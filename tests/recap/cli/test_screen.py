"""What the commands print is what was meant, on a terminal and in a file."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from recap.cli import app
from recap.cli.common import screen


def test_a_colon_in_a_message_is_no_emoji() -> None:
    result = CliRunner().invoke(app, ["interpolate", "anywhere", "--alphas", "x"])
    assert "START:END:STEP" in result.output


def test_what_is_printed_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    screen().print("runs/[1]/[bold]:smile: 12")
    assert capsys.readouterr().out == "runs/[1]/[bold]:smile: 12\n"


def test_tables_are_not_squeezed_into_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    result = CliRunner().invoke(app, ["check", "quickstart"])
    assert "NextTokenPrediction" in result.output  # not broken over three lines
    monkeypatch.setenv("COLUMNS", "90")
    assert screen().width == 90
