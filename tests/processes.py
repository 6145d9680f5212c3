"""A test's own launch of several processes on the CPU, as torchrun makes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def torchrun(
    *arguments: str, processes: int = 2, timeout: float = 280, **environment: str
) -> subprocess.CompletedProcess[str]:
    """What a script, or a module after ``-m``, said on its processes, one thread each, at a port of its own.

    Args:
        timeout: seconds, after which the test fails.
        environment: more variables.
    """
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    fixed = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *launch, *arguments],
        cwd=ROOT,
        env={**os.environ, **fixed, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
