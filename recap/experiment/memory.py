"""How much memory each process of a run takes, from the model's configuration, the recipe and the layout; no weights.

What can be said in bytes per parameter is said so here; what a forward and backward keeps is traced (`trace.py`).
Sources: Rajbhandari et al., "ZeRO" (arXiv 1910.02054), section 3, for 16 bytes per parameter under mixed precision; the
rest follows from the code that holds it, named in each function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from recap.evaluation.drift import SCORED_TOGETHER, VALUES
from recap.experiment.experiment import Experiment, loads_base, saves_activations
from recap.experiment.layout import Layout
from recap.experiment.load import Load, expected_load
from recap.experiment.trace import LossShape, skeleton, trace_loss
from recap.model.adapters import has_adapter

GIB = 2**30
CUDA = int(1.5 * GIB)
"""CUDA context, cuBLAS workspaces and NCCL buffers of a process on a GPU; assumed, of the order seen elsewhere."""


@dataclass(frozen=True)
class Estimate:
    """Bytes per process.

    Attributes:
        parts: kind -> bytes, in the phase that takes most, the largest first.
        phase: 'rollout', 'loss', 'update' or 'evaluation'.
        load: what it was estimated for.
        parameters: of the model.
        trained: of those, how many.
    """

    parts: dict[str, int]
    phase: str
    load: Load
    parameters: int
    trained: int

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def estimate(experiment: Experiment, layout: Layout, load: Load | None = None, gpu: float | None = None) -> Estimate:
    """The memory of one process at its peak, in the steps after the first.

    Args:
        load: None: the most that the recipe allows: every completion at its full length (`expected_load`).
        gpu: GiB of the GPU, of which a colocated vLLM takes a share.

    Raises:
        ValueError: the model's configuration is not at hand, or a forward of it cannot be traced.
    """
    config = experiment.model.configuration()
    if config is None:
        raise ValueError("the model's configuration is not on this machine")
    load = load or expected_load(experiment, layout, config)
    try:
        return _estimate(experiment, layout, load, config, gpu)
    except (RuntimeError, TypeError, AttributeError, NotImplementedError, KeyError) as error:
        raise ValueError(
            f"a forward of {config.model_type} cannot be traced: {type(error).__name__}: {error}"
        ) from error


def _estimate(experiment: Experiment, layout: Layout, load: Load, config: Any, gpu: float | None) -> Estimate:
    dtype = held_dtype(experiment, config)
    frozen = torch.bfloat16 if experiment.mixed_precision == "bf16" and not layout.sharded else dtype
    model = _model(experiment, config, dtype, frozen)
    tensors = list(model.parameters())
    trained = [tensor for tensor in tensors if tensor.requires_grad]
    base = standing(experiment, layout, tensors, gpu)
    gradients = Counter({"gradients": _bytes(trained) // (layout.processes if layout.sharded else 1)})

    shape = loss_shape(experiment, layout, load)
    computes = torch.bfloat16 if layout.sharded and shape.bf16 else dtype
    loss, kept = trace_loss(_model(experiment, config, computes, computes if layout.sharded else frozen), shape)
    update = gradients + gradient_methods(experiment, _number(trained))
    if _per_objective(experiment):
        loss["gradients of the objectives"] += 4 * (len(experiment.objectives) + 1) * _number(trained)
    elif not shape.keeps_gradients:
        loss += gradients
    if layout.sharded:
        loss += gathered_by_fsdp(model)
    casts = 2 * sum(map(_cast, tensors)) if shape.bf16 and not layout.sharded else 0
    decoding = rollout(experiment, load, model, casts=casts)
    if in_buckets(layout):
        decoding += gradients  # buckets stay where gradients are dropped
    if keeps_prefix(experiment, layout) and shape.prompts == load.prompts:
        share = load.prompt_length / (load.prompt_length + load.spoken)
        decoding["activations"] += int(share * kept["activations"])

    phases = {"loss": loss, "update": update, "rollout": decoding}
    if experiment.drift is not None and experiment.capabilities:
        phases["evaluation"] = drift(experiment, layout, tensors, config, casts=casts)
    phase = max(phases, key=lambda name: phases[name].total())
    parts = {name: size for name, size in (base + phases[phase]).most_common() if size > 0}
    return Estimate(parts, phase, load, _number(tensors), _number(trained))


def standing(experiment: Experiment, layout: Layout, tensors: list[torch.Tensor], gpu: float | None) -> Counter[str]:
    """What is there in every phase: weights, the two moments of AdamW in the weights' precision, and what stands beside."""
    shards = layout.processes if layout.sharded else 1
    found = Counter(
        {
            "weights": _bytes(tensors) // shards,
            "optimizer state": 2 * _bytes([tensor for tensor in tensors if tensor.requires_grad]) // shards,
            "copies": copies(experiment, layout, tensors),
        }
    )
    if gpu is not None and not layout.on_cpu:
        found["CUDA and NCCL"] = CUDA
        found["vLLM"] = int(getattr(experiment.rollout.generator, "gpu_memory_utilization", 0) * gpu * GIB)
    return found


def loss_shape(experiment: Experiment, layout: Layout, load: Load) -> LossShape:
    """The largest forward and backward of a step."""
    part = load.bounded(experiment.scoring.max_tokens)
    one_pass = experiment.accumulation_steps == 1 and part == load
    attention = str(getattr(experiment.model, "attention", None))
    return LossShape(
        prompts=part.prompts,
        group_size=part.group_size,
        prompt_length=part.prompt_length,
        completion_length=part.completion_length,
        patches=part.patches,
        shares=experiment.scoring.shared_prefix and not attention.startswith("flash"),
        chunk=experiment.scoring.chunk,
        bf16=experiment.mixed_precision == "bf16",
        checkpointed=experiment.activation_checkpointing or layout.activation_checkpointing,
        # Those of an earlier pass are all there; buckets and shards always are.
        keeps_gradients=one_pass and layout.processes == 1 and not _per_objective(experiment),
    )


def in_buckets(layout: Layout) -> bool:
    """Whether gradients live in the buckets of plain data parallelism."""
    return layout.processes > 1 and not layout.sharded


def held_dtype(experiment: Experiment, config: Any) -> torch.dtype:
    """The precision that the weights are held in."""
    asked = getattr(experiment.model, "dtype", "float32")
    if asked == "auto":
        published = getattr(config, "dtype", None) or torch.float32
        return published if isinstance(published, torch.dtype) else getattr(torch, published)
    return torch.bfloat16 if asked == "bfloat16" else torch.float32


def copies(experiment: Experiment, layout: Layout, tensors: list[torch.Tensor]) -> int:
    """Bytes of the whole models that stand beside the trained one (`Models._stand_beside`).

    Sharded: one to sample with; with a KL term and without an adapter, whose base is the reference: one to refer to. They are
    in the precision of the arithmetic.
    """
    number = int(layout.sharded) + int(experiment.copies_reference)
    as_bf16 = experiment.mixed_precision == "bf16"
    return number * sum(tensor.numel() * (2 if as_bf16 else tensor.element_size()) for tensor in tensors)


def drift(
    experiment: Experiment, layout: Layout, tensors: list[torch.Tensor], config: Any, *, casts: int
) -> Counter[str]:
    """What the divergence from the base takes on the first process, in an evaluation (`DriftMeter`).

    The base where it is loaded again, in the precision that the model which is sampled from is held in; of the
    distributions eight copies in fp32: logits twice, log-probs of both models, and what is made of them.
    """
    settings = experiment.drift
    assert settings is not None
    half = layout.sharded and experiment.mixed_precision == "bf16"
    base = sum(tensor.numel() * (2 if half else tensor.element_size()) for tensor in tensors)
    vocabulary = config.get_text_config().vocab_size
    rows = max(2, min(VALUES // (vocabulary * settings.max_new_tokens), 2 * min(SCORED_TOGETHER, 3 * settings.prompts)))
    found = Counter({"logits": 8 * 4 * rows * settings.max_new_tokens * vocabulary, "casts": casts})
    found["base model"] = base if loads_base(experiment) else 0
    if in_buckets(layout):
        found["gradients"] = _bytes([tensor for tensor in tensors if tensor.requires_grad])
    return found


def keeps_prefix(experiment: Experiment, layout: Layout) -> bool:
    """Whether the rollout's forward over the prompts keeps its graph (`Models.keeps_prefix`)."""
    able = experiment.scoring.can_reuse_prefill and experiment.rollout.generator is None
    return able and not layout.sharded and not saves_activations(experiment)


def gradient_methods(experiment: Experiment, trained: int) -> Counter[str]:
    """The gradient of every objective, K x P values in fp32 (`Update.combine`).

    Three such matrices: the gradients, those of them that are not 0, and what the method makes: one direction, GradDrop and
    ConFIG one or two matrices more.
    """
    if not _per_objective(experiment):
        return Counter()
    return Counter({"gradients of the objectives": 3 * len(experiment.objectives) * trained * 4})


def _per_objective(experiment: Experiment) -> bool:
    return bool(experiment.gradient_method) or experiment.build_reweighting().needs_gradient_norms


def gathered_by_fsdp(model: Any) -> Counter[str]:
    """What FSDP2 holds whole for a while, beside its shards.

    The root (embedding, head, vision tower) is whole from the start of the forward to the end of backward; of the layers two,
    the running one and the next. Each in bf16 (2 bytes), with a gradient (2) that is summed in fp32 (4): `sharding.py`.
    """
    layers = [_number(layer.parameters()) for layer in getattr(model.get_decoder(), "layers", ())]
    root = _number(model.parameters()) - sum(layers)
    return Counter({"gathered by FSDP": 8 * (root + 2 * max(layers, default=0))})


def rollout(experiment: Experiment, load: Load, model: Any, *, casts: int) -> Counter[str]:
    """Keys and values, and logits of a decode step, of our own decoder.

    A prompt's are there once, those of its completions beside it (`decode_batch.py`) in memory that grows by doubling
    (`kv_cache.py`); while it does, a layer's old memory and its new one are there together. Of the logits of a step
    there are four copies in fp32: the model's, and those of `_next_tokens`.
    """
    if experiment.rollout.generator is not None or not load.decoded:
        return Counter()
    config = model.config.get_text_config()
    grouped = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    size = 2 if experiment.mixed_precision == "bf16" else next(model.parameters()).element_size()
    sequences = load.decoded * load.group_size
    token = 2 * grouped * width * size
    completions = token * sequences * cache_columns(load.completion_length)
    return Counter(
        {
            "key/value cache": config.num_hidden_layers * (token * load.decoded * load.prompt_length + completions)
            + completions,
            "logits": 4 * sequences * config.vocab_size * 4,
            "casts": casts,
        }
    )


def cache_columns(tokens: int) -> int:
    """Tokens of a completion that there is memory for, when all but the last of `tokens` are in it (`RoomyLayer`)."""
    room = held = 64
    for before in range(tokens - 1):
        while before + 1 > held:
            room *= 2
            held = before + room
    return held


def _model(experiment: Experiment, config: Any, dtype: torch.dtype, frozen: torch.dtype) -> Any:
    """The experiment's model without memory, what is trained of it in `dtype`, what is not in `frozen`."""
    model = skeleton(config, dtype, experiment.adapter, getattr(experiment.model, "attention", None))
    if getattr(experiment.model, "freeze_vision", False) and not has_adapter(model):
        for name, parameter in model.named_parameters():
            if ".visual." in f".{name}" or ".vision_tower." in f".{name}":
                parameter.requires_grad_(False)
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(frozen)
    return model


def _cast(tensor: torch.Tensor) -> int:
    """Elements that autocast keeps a copy of: trained matrices that are not bf16 already."""
    return tensor.numel() if tensor.requires_grad and tensor.dim() > 1 and tensor.dtype == torch.float32 else 0


def _number(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
