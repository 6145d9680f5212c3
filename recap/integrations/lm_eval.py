"""Benchmarks of lm-eval, for models of text."""

from __future__ import annotations

from typing import Any

from recap.integrations.harness import Request, check_tasks

MISSING = 'the package lm-eval is missing: pip install "recap-rlvr[lm-eval]"'


def measure(request: Request) -> dict[str, Any]:
    """What lm-eval's `simple_evaluate` returns for a model, without the single samples.

    Where no model type is given it is ``hf``, AutoModelForCausalLM, for text alone; the device is lm-eval's choice.

    Raises:
        ValueError: the package is missing, or it does not know a task.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise ValueError(f"{MISSING} ({error})") from error
    manager = TaskManager(include_path=None if request.include is None else str(request.include))
    check_tasks("lm-eval", manager, request.tasks)
    results: dict[str, Any] = simple_evaluate(
        model=request.model_type or "hf",
        model_args={"pretrained": str(request.model)},
        tasks=list(request.tasks),
        limit=request.limit,
        batch_size=request.batch_size,
        device=request.device,
        log_samples=False,
        task_manager=manager,
    )
    return results
