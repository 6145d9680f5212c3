"""What belongs to no command: the version, and completion in a shell."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recap.cli import app


def test_the_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"recap {version('recap-rlvr')}\n")


def test_a_shell_can_complete_commands() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert "--install-completion" in result.output
    assert "RL post-training" in result.output


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("recap che", ["check"]),
        ("recap train --se", ["--seeds"]),
        ("recap check quick", ["quickstart", "quickstart_reasoning_only", "quickly.gin"]),
        ("recap describe rew", ["reweighting"]),
        ("recap describe reweighting rec", ["recap", "recap_released"]),
    ],
)
def test_a_shell_completes_commands_options_experiments_and_parts(
    typed: str, offered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickly.gin").touch()
    (tmp_path / "quickly.txt").touch()
    asked = {
        "_RECAP_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
    }
    result = CliRunner().invoke(app, [], env=asked, prog_name="recap")
    assert result.output.split() == offered
