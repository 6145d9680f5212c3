"""lm-eval's benchmarks on what a run exported, kept beside the run's own measures.

```
RUN/lm-eval/results.json    what the harness says: scores, standard errors, versions and settings of the tasks
```
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recap.runs.run_directory import last_step_begun
from recap.runs.sync import log_afterwards

FOLDER = "lm-eval"
MISSING = 'the package lm-eval is missing: pip install "recap-rlvr[lm-eval]"'
Scores = dict[str, dict[str, float]]
"""Task or group -> measure (``acc``, ``acc_stderr``, ``exact_match,strict-match``) -> value, in the harness's units."""


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


def measure(
    model: Path,
    tasks: Sequence[str],
    *,
    include: Path | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    device: str | None = None,
) -> dict[str, Any]:
    """What lm-eval's `simple_evaluate` returns for a causal language model, without the single samples.

    Args:
        model: directory, text alone: the harness reads it with AutoModelForCausalLM.
        tasks: names of tasks or groups.
        include: a folder of task definitions of your own (YAML).
        limit: examples per task; None: all.
        device: as PyTorch names it; None: the harness's choice.

    Raises:
        ValueError: the package is missing, or it does not know a task.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise ValueError(f"{MISSING} ({error})") from error
    manager = TaskManager(include_path=None if include is None else str(include))
    unknown = [task for task in tasks if not manager.match_tasks([task])]
    if unknown:
        raise ValueError(f"--tasks: lm-eval has no {', '.join(unknown)}; --include names a folder of tasks of your own")
    results: dict[str, Any] = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(model)},
        tasks=list(tasks),
        limit=limit,
        batch_size=batch_size,
        device=device,
        log_samples=False,
        task_manager=manager,
    )
    return results


def scores_of(results: Mapping[str, Any]) -> Scores:
    """The numbers among lm-eval's results; the filter's name stays where it is not ``none``."""
    found: Scores = {}
    for task, measures in results["results"].items():
        numbers = {key: value for key, value in measures.items() if isinstance(value, float) and "," in key}
        found[task] = {key.removesuffix(",none"): value for key, value in numbers.items()}
    return found


def keep(run: Path, results: Mapping[str, Any], scores: Scores) -> str:
    """Writes the results to the run's directory and logs ``lm-eval/TASK/MEASURE`` to its MLflow run. Returns what to say."""
    path = run / FOLDER / "results.json"
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(results, indent=1, default=str), encoding="utf-8")
    os.replace(partial, path)
    values = {
        f"lm-eval/{task}/{key.replace(',', '/')}": value for task, of in scores.items() for key, value in of.items()
    }
    logged = {"step": last_step_begun(run), "at": time.time_ns() // 1_000_000, "values": values}
    return f"wrote {path}; {log_afterwards(run, [logged, {'local': path.relative_to(run).as_posix()}])}"
