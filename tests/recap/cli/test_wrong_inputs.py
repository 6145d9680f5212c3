"""Wrong inputs end in one readable error: what was wrong, where, what to do; never in a traceback."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recap.cli import app

MINE = """
include 'experiments/models/tiny_qwen2_5_vl.gin'
mine/Domain.source = @replay.jsonl()
replay.jsonl.path = 'rows.jsonl'
mine/Domain.objectives = {'accuracy': @verifiers.accuracy()}
train.domains = [@mine/Domain()]
train.reweighting = @reweighting.uniform
train.steps = 2
"""
CASES = {
    # data that cannot be read: named by its binding, as what is found while loading is
    "check mine.gin -b \"replay.jsonl.path = 'zzzz'\"": "no file 'zzzz' bound by -b",
    "check gone.gin": "no file 'zzzz' bound at gone.gin:9",
    "check mine.gin -b \"replay.jsonl.path = 'folder'\"": "'folder' is a folder; name its files: folder/*",
    "check mine.gin -b \"replay.jsonl.path = 'empty.jsonl'\"": "empty.jsonl is empty, or all is filtered out",
    "check columns.gin": "rows.jsonl has no column 'q', for question columns: question, answer bound at columns.gin:9",
    "train columns.gin": "bound at columns.gin:9",
    "prepare gone.gin": "bound at gone.gin:9",
    "check rates.gin": "names 'min', which is no domain; did you mean mine? bound at rates.gin:10",
    # gin
    "check mine.gin -b train.steps": "a line is NAME = VALUE, e.g. train.steps = 5",
    "check mine.gin -b 'train.steps = '": "a value is a number, 'text' in quotes",
    "check mine.gin -b 'train.reweighting = reweighting.uniform'": "@part, @part() or %MACRO",
    "check noise.gin": "not a gin file: it is no text in UTF-8",
    "check folder": "'folder' is a folder, not an experiment file",
    # a launcher's file
    "check mine.gin --accelerate text.txt": "'text.txt' is no Accelerate config",
    "check mine.gin --accelerate gone.yaml": "'gone.yaml' is no Accelerate config: there is no such file",
    # places that cannot be written
    "export gone --output text.txt": "text.txt is a file: name a directory",
    "init text.txt": "DIRECTORY text.txt cannot be written",
    "init text.txt/below": "DIRECTORY text.txt/below cannot be written",
    "new reweighting mine --directory text.txt/below": "--directory text.txt/below cannot be written",
    # MLflow
    "ui --uri nonsense": "nonsense: MLflow cannot be read",
    "ui --port 99999": "--port",
    "compare --uri nonsense --filter \"params.a = '1'\"": "nonsense: MLflow cannot be read",
    # options that want another
    "train mine.gin --jobs 2": "--jobs 2 is of several runs: name their seeds",
    "new reweighting recap": "it is a package of this project",
    "interpolate gone": "no run there",
    "sweep --resume folder": "no sweep there",
}


@pytest.fixture
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    for name, text in {
        "text.txt": "hello",
        "empty.jsonl": "",
        "rows.jsonl": '{"question": "1+1", "answer": "2"}\n',
        "mine.gin": MINE,
        "gone.gin": f"{MINE}replay.jsonl.path = 'zzzz'\n",
        "columns.gin": f"{MINE}replay.jsonl.columns = {{'question': 'q', 'answer': 'answer'}}\n",
        "rates.gin": f"{MINE}train.mixture = @mixtures.weighted()\nmixtures.weighted.rates = {{'min': 1}}\n",
    }.items():
        Path(name).write_text(text)
    Path("noise.gin").write_bytes(b"\xaf\x00\x89")


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("command", CASES)
def test_one_readable_error(command: str) -> None:
    result = CliRunner().invoke(app, shlex.split(command))
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert CASES[command] in " ".join(result.output.split())


@pytest.mark.usefixtures("_files")
def test_a_sweep_that_does_not_begin_is_not_said_to_have_begun() -> None:
    result = CliRunner().invoke(app, ["sweep", "mine.gin", "-g", "train.steps = 1, 'x'"])
    assert result.exit_code == 2
    assert "must be an integer; it is 'x'" in result.output
    assert "sweep in" not in result.output
