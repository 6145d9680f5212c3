"""README's example of a policy keeps the contract, and runs under the command beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recap.cli import app
from registry import load_plugin, reweighting_policies
from registry.testing import check_reweighting_policy

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_policy_keeps_the_contract_and_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    file = tmp_path / "underdog.py"
    file.write_text(block)
    command = re.search(
        r"recap train (experiments/quickstart.gin --plugin underdog.py.*?)\n```", README, flags=re.DOTALL
    )
    assert command is not None
    arguments = [a or b for a, b in re.findall(r'"([^"]*)"|([^\s\\]+)', command[1])]
    monkeypatch.chdir(ROOT)
    with reweighting_policies.temporarily():
        load_plugin(file)
        check_reweighting_policy(lambda objectives: reweighting_policies.build("underdog", objectives))
        arguments[arguments.index("underdog.py")] = str(file)
        result = CliRunner().invoke(app, ["check", *arguments])
    assert result.exit_code == 0, result.output
    assert "reweighting Underdog" in result.output
