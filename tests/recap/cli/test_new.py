"""What `recap new` writes runs as written: its tests, its experiment, its file as a plugin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recap.cli import app
from recap.cli.new import KINDS

ROOT = Path(__file__).resolve().parents[3]


def python(*arguments: str, cwd: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{cwd}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def new(folder: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["new", *arguments, "--directory", str(folder)])
    return result.exit_code, result.output


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_package_passes_its_tests_and_its_experiment_is_valid(kind: str, tmp_path: Path) -> None:
    name = f"packaged_{kind}"
    assert new(tmp_path, kind, name, "--package")[0] == 0
    project = tmp_path / name
    assert f'{name} = "{name}"' in (project / "pyproject.toml").read_text()
    assert "$" not in (project / "README.md").read_text()
    python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    if kind == "study":
        assert "exact p = " in python(f"{name}/__init__.py", "--seeds", "2", "--steps", "5", cwd=project)
    else:
        assert "valid" in python("-m", "recap", "check", "experiment.gin", "--plugin", ".", cwd=project)


def test_a_single_file_is_a_plugin_and_the_list_says_where_it_is(tmp_path: Path) -> None:
    assert new(tmp_path, "reweighting", "my_policy")[0] == 0
    output = python("-m", "recap", "list", "reweighting", "--plugin", "my_policy.py", cwd=tmp_path)
    assert "  my_policy(memory=0.9)" in output
    assert f"from plugin {tmp_path / 'my_policy.py'}:" in output


def test_what_cannot_be_made_is_refused(tmp_path: Path) -> None:
    assert "did you mean reweighting" in new(tmp_path, "rewieghting", "x")[1]
    assert "use letters, digits and underscores" in new(tmp_path, "verifier", "my-verifier")[1]
    assert "there is a reweighting policy 'uniform' already" in new(tmp_path, "reweighting", "uniform")[1]
    assert new(tmp_path, "mixture", "mine")[0] == 0
    code, output = new(tmp_path, "mixture", "mine")
    assert code == 2
    assert "mine.py is there already" in output
