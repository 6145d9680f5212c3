"""Benchmarks of lmms-eval, for models that see."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoConfig

from recap.integrations.harness import Request, check_tasks

MISSING = 'the package lmms-eval, or one that it needs, is missing: pip install "recap-rlvr[lmms-eval]"'
ANY = "huggingface"  # its reader of whatever transformers' AutoProcessor reads


def measure(request: Request) -> dict[str, Any]:
    """What lmms-eval's `simple_evaluate` returns for a vision-language model, without the single samples.

    The model, with its processor, is read in bfloat16 and its pictures are scaled as lmms-eval's own class for it does, so that
    scores stand beside published ones. Where no model type is given it is the one of `config.json`, such as ``qwen2_5_vl``, or
    `ANY`; where no device is, a GPU if there is one.

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
    read_as = request.model_type or AutoConfig.from_pretrained(request.model).model_type
    if read_as not in known:
        if request.model_type:
            raise ValueError(f"--model-type: lmms-eval has no {read_as}; it has {', '.join(known)}")
        read_as = ANY
    include = None if request.include is None else str(request.include)
    manager = TaskManager("WARNING", include_path=include, model_name=read_as)
    check_tasks("lmms-eval", manager, request.tasks)
    results: dict[str, Any] = simple_evaluate(
        _reader(get_model, read_as, request),
        tasks=list(request.tasks),
        limit=request.limit,
        batch_size=request.batch_size,
        log_samples=False,
        task_manager=manager,
    )
    return results


def _reader(get_model: Callable[[str], Any], name: str, request: Request) -> Any:
    """The model as one of lmms-eval's own classes holds it."""
    try:
        reader = get_model(name)
    except ImportError as error:
        raise ValueError(f"{MISSING} ({error})") from error
    device = request.device or ("cuda" if torch.cuda.is_available() else "cpu")
    settings = {"pretrained": str(request.model), "batch_size": request.batch_size, "device": device}
    if "device_map" in inspect.signature(reader).parameters:  # unbound it is 'auto', and batches go to a GPU
        settings["device_map"] = device
    try:
        return reader(**settings)
    except OSError as error:
        raise ValueError(f"lmms-eval's {name} cannot read {request.model}: {error}") from error
