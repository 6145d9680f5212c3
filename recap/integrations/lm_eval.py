"""Benchmarks of lm-eval, for models of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recap.integrations.harness import check_tasks

MISSING = 'the package lm-eval is missing: pip install "recap-rlvr[lm-eval]"'


def measure(
    model: Path,
    tasks: Sequence[str],
    *,
    model_type: str | None = None,
    include: Path | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    device: str | None = None,
) -> dict[str, Any]:
    """What lm-eval's `simple_evaluate` returns for a model, without the single samples.

    Args:
        model: directory.
        model_type: lm-eval's name for what reads it; None: ``hf``, AutoModelForCausalLM, for text alone.
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
    check_tasks("lm-eval", manager, tasks)
    results: dict[str, Any] = simple_evaluate(
        model=model_type or "hf",
        model_args={"pretrained": str(model)},
        tasks=list(tasks),
        limit=limit,
        batch_size=batch_size,
        device=device,
        log_samples=False,
        task_manager=manager,
    )
    return results
