"""docs/data.md, run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recap.cli import app
from registry import load_plugin, replay_sources
from registry.testing import check_replay_source

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "data.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return [
        body
        for language, body in re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
        if language == kind
    ]


def test_the_file_of_questions_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (questions,), (experiment,), (commands,) = blocks("json"), blocks(""), blocks("sh")
    Path("sums.jsonl").write_text(questions)
    Path("sums.gin").write_text(experiment)
    for command in commands.splitlines():
        result = CliRunner().invoke(app, command.removeprefix("recap ").split())
        assert result.exit_code == 0, f"{command}: {result.output}"


def test_the_source_keeps_the_contract(tmp_path: Path) -> None:
    (source,) = blocks("python")
    (tmp_path / "squares.py").write_text(source)
    with replay_sources.temporarily():
        load_plugin(tmp_path / "squares.py")
        check_replay_source(replay_sources.get("squares").original)


def test_every_source_and_wrapper_that_is_named_is_there() -> None:
    named = set(re.findall(r"@replay\.(\w+)\(\)", PAGE))
    assert len(named) > 10
    assert named <= set(replay_sources.names())
