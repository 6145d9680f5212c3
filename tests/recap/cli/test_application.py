"""What belongs to no command: the version, and completion in a shell."""

from __future__ import annotations

from importlib.metadata import version

from typer.testing import CliRunner

from recap.cli import app


def test_the_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"recap {version('recap-rlvr')}\n")


def test_a_shell_can_complete_commands() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert "--install-completion" in result.output
    assert "RL post-training" in result.output
