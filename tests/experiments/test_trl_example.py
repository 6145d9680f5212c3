"""The example of RECAP in TRL runs as written, if shorter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_it_runs_and_its_weights_are_those_of_our_policy() -> None:
    pytest.importorskip("trl")
    script = ROOT / "experiments" / "trl" / "two_rewards.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), "--steps", "12"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stderr
    table, found = result.stdout.splitlines(), re.search(r"same rewards: (\S+)$", result.stdout.strip())
    assert found is not None
    assert float(found[1]) < 1e-6
    assert any(row.split()[-1] != "1.00" for row in table[2:-1]), "weights that never moved show nothing"
