"""The runs that a path names: itself, or those in the folders in it, as of a sweep."""

from __future__ import annotations

from pathlib import Path

from recap.runs.outcomes import FOLDER
from recap.runs.run_directory import RECORD_FILE, run_directory

SWEEP_DEPTH = 3  # folders below one that is no run in which runs are looked for: SWEEPS/SWEEP/POINT/seed-0


def run_directories(path: Path) -> list[Path]:
    """The run that a path is, or is a checkpoint of; else the runs in it.

    Raises:
        ValueError: none.
    """
    start = run_directory(path)
    if _is_run(start):
        return [start]
    for depth in range(1, SWEEP_DEPTH + 1):
        below = sorted(inside for inside in path.glob("/".join("*" * depth)) if inside.is_dir() and _is_run(inside))
        if below:
            return below
    raise ValueError(f"{path}: no run there, nor in the folders in it (no {RECORD_FILE}, no {FOLDER}/)")


def _is_run(path: Path) -> bool:
    return (path / RECORD_FILE).is_file() or any((path / FOLDER).glob("step-*.parquet"))
