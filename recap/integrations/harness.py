"""Benchmarks from outside on what a run exported, kept beside the run's own measures.

```
RUN/HARNESS/results.json    what the harness says: scores, standard errors, versions and settings of the tasks
```

A harness is a package with a module here, whose `measure` returns results of one form; both come from one ancestor.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from recap.runs.run_directory import last_step_begun
from recap.runs.sync import log_afterwards

HARNESSES = {"lm-eval": "recap.integrations.lm_eval", "lmms-eval": "recap.integrations.lmms_eval"}
Scores = dict[str, dict[str, float]]
"""Task or group -> measure (``acc``, ``acc_stderr``, ``exact_match,strict-match``) -> value, in the harness's units."""


@dataclass(frozen=True)
class Request:
    """What a harness is asked to measure.

    Args:
        model: directory that transformers loads.
        tasks: names of the harness's tasks or groups.
        model_type: its name for what reads the model; None: its module's choice.
        include: a folder of task definitions of your own (YAML).
        limit: examples per task; None: all.
        device: as PyTorch names it; None: its module's choice.
    """

    model: Path
    tasks: Sequence[str]
    model_type: str | None = None
    include: Path | None = None
    limit: int | None = None
    batch_size: int = 8
    device: str | None = None


Measure = Callable[[Request], dict[str, Any]]
"""The harness's results, without the single samples."""


def measure_of(harness: str) -> Measure:
    """What measures by a harness.

    Raises:
        ValueError: no such harness.
    """
    if harness not in HARNESSES:
        raise ValueError(
            f"--harness {harness}: {' and '.join(HARNESSES)} are known. Another one is run by itself, on a directory"
            " that transformers loads: RUN/model, or what `recap export` writes (docs/elsewhere.md)"
        )
    measure: Measure = import_module(HARNESSES[harness]).measure
    return measure


def check_tasks(harness: str, manager: Any, tasks: Sequence[str]) -> None:
    """Whether a harness has all tasks.

    Args:
        manager: its TaskManager.

    Raises:
        ValueError: it does not.
    """
    unknown = [task for task in tasks if not manager.match_tasks([task])]
    if unknown:
        raise ValueError(
            f"--tasks: {harness} has no {', '.join(unknown)}; --include names a folder of tasks of your own"
        )


def exported_model(place: Path) -> Path:
    """The directory that `from_pretrained` loads: `place` itself, or the model that the run there left.

    Raises:
        ValueError: neither.
    """
    for found in (place, place / "model"):
        if (found / "config.json").is_file():
            return found
    raise ValueError(
        f"{str(place)!r} is neither a model nor a run that left one (no config.json there nor in model/):"
        f" recap export {place} --output {place / 'model'}"
    )


def scores_of(results: Mapping[str, Any]) -> Scores:
    """The numbers among a harness's results; the filter's name stays where it is not ``none``."""
    found: Scores = {}
    for task, measures in results["results"].items():
        numbers = {key: value for key, value in measures.items() if isinstance(value, float) and "," in key}
        found[task] = {key.removesuffix(",none"): value for key, value in numbers.items()}
    return found


def keep(run: Path, harness: str, results: Mapping[str, Any], scores: Scores) -> str:
    """Writes the results to the run's directory and logs ``HARNESS/TASK/MEASURE`` to its MLflow run. Returns what to say."""
    path = run / harness / "results.json"
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(results, indent=1, default=str), encoding="utf-8")
    os.replace(partial, path)
    values = {
        f"{harness}/{task}/{key.replace(',', '/')}": value for task, of in scores.items() for key, value in of.items()
    }
    logged = {"step": last_step_begun(run), "at": time.time_ns() // 1_000_000, "values": values}
    return f"wrote {path}; {log_afterwards(run, [logged, {'local': path.relative_to(run).as_posix()}])}"
