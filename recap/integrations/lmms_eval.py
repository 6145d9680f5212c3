"""Benchmarks of lmms-eval, for models that see."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from recap.integrations.harness import check_tasks

MISSING = 'the package lmms-eval, or one that it needs, is missing: pip install "recap-rlvr[lmms-eval]"'
ANY = "huggingface"  # its reader of whatever transformers' AutoProcessor reads


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
    """What lmms-eval's `simple_evaluate` returns for a vision-language model, without the single samples.

    The model is read in bfloat16 and its pictures are scaled as lmms-eval's own class for it does, so that scores stand beside
    published ones.

    Args:
        model: directory, with the processor.
        tasks: names of tasks or groups.
        model_type: lmms-eval's name for what reads it; None: the one of `config.json`, such as ``qwen2_5_vl``, or `ANY`.
        include: a folder of task definitions of your own (YAML).
        limit: examples per task; None: all.
        device: as PyTorch names it; None: a GPU where there is one.

    Raises:
        ValueError: the package is missing, or it does not know a task or the model type.
    """
    try:
        from lmms_eval.evaluator import simple_evaluate
        from lmms_eval.models import get_model, list_available_models
        from lmms_eval.tasks import TaskManager
    except ImportError as error:
        raise ValueError(f"{MISSING} ({error})") from error
    known = list_available_models()
    read_as = model_type or AutoConfig.from_pretrained(model).model_type
    if read_as not in known:
        if model_type:
            raise ValueError(f"--model-type: lmms-eval has no {model_type}; it has {', '.join(known)}")
        read_as = ANY
    manager = TaskManager("WARNING", include_path=None if include is None else str(include), model_name=read_as)
    check_tasks("lmms-eval", manager, tasks)
    lm = _reader(get_model, read_as, model, batch_size, device or ("cuda" if torch.cuda.is_available() else "cpu"))
    results: dict[str, Any] = simple_evaluate(
        lm, tasks=list(tasks), limit=limit, batch_size=batch_size, log_samples=False, task_manager=manager
    )
    return results


def _reader(get_model: Callable[[str], Any], name: str, model: Path, batch_size: int, device: str) -> Any:
    """The model as one of lmms-eval's own classes holds it."""
    try:
        reader = get_model(name)
    except ImportError as error:
        raise ValueError(f"{MISSING} ({error})") from error
    settings = {"pretrained": str(model), "batch_size": batch_size, "device": device}
    if "device_map" in inspect.signature(reader).parameters:  # unbound it is 'auto', and batches go to a GPU
        settings["device_map"] = device
    try:
        return reader(**settings)
    except OSError as error:
        raise ValueError(f"lmms-eval's {name} cannot read {model}: {error}") from error
