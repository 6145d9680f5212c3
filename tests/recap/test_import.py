"""`recap` finds its own `registry`, and `registry` is cheap to have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "transformers", "accelerate", "mlflow", "numpy", "pandas", "PIL", "datasets", "trl", "typer", "rich"}


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def beside_another_registry(tmp_path: Path) -> Path:
    (tmp_path / "registry.py").write_text("raise SystemExit('the wrong registry')\n")
    return tmp_path


def test_a_registry_py_in_the_working_directory_is_not_taken_for_ours(beside_another_registry: Path) -> None:
    result = python("-m", "recap", "list", "reweighting", cwd=beside_another_registry)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "recap(window=10" in result.stdout


def test_nor_in_the_worker_processes_of_verifiers(beside_another_registry: Path) -> None:
    script = beside_another_registry / "script.py"
    script.write_text(
        "import recap\n"
        "from recap.rewards.requests import ScoreRequest\n"
        "from recap.rewards.workers import RewardWorkers\n"
        "from registry import verifiers\n"
        "from registry.example import Example\n"
        "if __name__ == '__main__':\n"
        "    example = Example(id='1', question='', answer=r'2\\sqrt{3}')\n"
        "    request = ScoreRequest(verifiers.build('accuracy'), r'<answer>\\sqrt{12}</answer>', example)\n"
        "    with RewardWorkers(workers=1, timeout_s=60) as workers:\n"
        "        result = workers.score([request])\n"
        "    print(result.rewards, result.first_faults)\n"
    )
    result = python("script.py", cwd=beside_another_registry)
    assert result.stdout == "[1.0] []\n", result.stdout + result.stderr


def test_another_module_of_that_name_that_is_there_already_is_named(tmp_path: Path) -> None:
    (tmp_path / "registry.py").write_text("")
    result = python("-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import registry, recap", cwd=tmp_path)
    assert result.returncode == 1
    assert f"{tmp_path / 'registry.py'} was imported under that name" in result.stderr


@pytest.mark.parametrize(
    "line",
    [
        "import registry.verifiers.base as b; b.Verifier",
        "import registry.verifiers.base; registry.verifiers.base.Verifier",
        "import registry.reweighting.base as b; b.ReweightingPolicy",
        "import registry.replay.base as b, registry.backends.base as c; b.ReplaySource, c.Backend",
        "from registry.verifiers import base; base.Verifier",
        "import registry.verifiers.base, registry; assert registry.verifiers.build('answer_format').strict",
        "import pkgutil; pkgutil.resolve_name('registry.verifiers.base.Verifier')",
        "import registry, pickle, copy; assert not hasattr(registry.verifiers, 'nothing'); copy.copy(registry.verifiers)",
    ],
)
def test_modules_of_a_family_can_be_imported_every_way(line: str, tmp_path: Path) -> None:
    result = python("-c", line, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "line",
    [
        "import registry",
        "import registry; registry.reweighting_policies.entries()",
        "import registry; registry.verifiers.build('answer_format')",
        "import registry.testing",
        "import recap",
    ],
)
def test_parts_that_need_no_model_are_there_without_torch(line: str, tmp_path: Path) -> None:
    code = f"import sys; before = set(sys.modules); {line}; print(*sorted(set(sys.modules) - before))"
    result = python("-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    allowed = {"numpy"} if "verifiers" in line else set()  # matches boxes
    assert not (HEAVY - allowed) & set(result.stdout.split())
