"""What cannot work, or works badly, on the processes that an experiment is launched on; found before weights are loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator, DistributedType
from accelerate.commands.config.config_args import load_config_from_file

from recap.data.domains import describe
from recap.experiment.experiment import Experiment

FSDP2 = "experiments/accelerate/fsdp2_8_gpus.yaml"
DEEPSPEED = (
    "DeepSpeed is not supported: its engine gathers every layer on all processes at the same time, so that a micro-batch"
    " without a picture on one of them stops the others, and under Accelerate it updates the model inside backward, before"
    f" a loss that is not finite could be refused. FSDP2 shards as much as ZeRO-3: {FSDP2}"
)
PLAIN = ("NO", "MULTI_GPU", "MULTI_CPU", "MULTI_NPU", "MULTI_XPU", "MULTI_HPU", "MULTI_MLU", "MULTI_MUSA", "MULTI_SDAA")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The processes of a launch, as asked for.

    Attributes:
        kind: of `accelerate.DistributedType`: 'NO', 'MULTI_GPU', 'MULTI_CPU', 'FSDP', 'DEEPSPEED', ...
        processes: over all machines.
        machines: how many.
        on_cpu: whether the launch keeps off the GPUs.
        launcher_precision: what the launcher says about mixed precision; None and 'no' say nothing.
        fsdp_version: 1 or 2 of kind 'FSDP', else None.
        alone: several processes were asked for, but each that starts would train by itself.
        fsdp_ignored: FSDP was asked for, but Accelerate does not shard on these processes.
        only_main_loads: whether transformers loads weights on the main process alone (cpu_ram_efficient_loading).
        accumulation: Accelerate's gradient accumulation steps, by which it divides every loss.
        activation_checkpointing: whether FSDP wraps every layer so that backward computes it again.
        model_parallel: names of the ways of splitting a model other than by data, e.g. 'tp'.
    """

    kind: str = "NO"
    processes: int = 1
    machines: int = 1
    on_cpu: bool = False
    launcher_precision: str | None = None
    fsdp_version: int | None = None
    alone: bool = False
    fsdp_ignored: bool = False
    only_main_loads: bool = False
    accumulation: int = 1
    activation_checkpointing: bool = False
    model_parallel: tuple[str, ...] = ()

    @property
    def sharded(self) -> bool:
        return self.kind == "FSDP"


def layout_of_file(file: Path) -> Layout:
    """What `accelerate launch --config_file FILE` would start.

    Raises:
        ValueError: the file does not exist, or Accelerate cannot read it.
    """
    if not file.is_file():
        raise ValueError(
            f"{str(file)!r} is no Accelerate config: there is no such file; recap's own are under experiments/accelerate/"
        )
    try:
        config = load_config_from_file(str(file))
    except Exception as error:  # YAML that is none, or is no mapping: Accelerate raises whatever its first line meets
        raise ValueError(f"{str(file)!r} is no Accelerate config: {type(error).__name__}: {error}") from error
    kind = str(getattr(config.distributed_type, "value", config.distributed_type))
    fsdp, deepspeed = dict(config.fsdp_config), dict(config.deepspeed_config)
    on_cpu = bool(config.use_cpu)
    return Layout(
        kind=kind,
        processes=max(1, int(config.num_processes)),
        machines=int(config.num_machines),
        on_cpu=on_cpu,
        launcher_precision=config.mixed_precision and str(config.mixed_precision),
        fsdp_version=int(fsdp.get("fsdp_version", 1)) if kind == "FSDP" else None,
        alone=on_cpu and int(config.num_processes) > 1 and not config.mpirun_config,
        fsdp_ignored=kind == "FSDP" and on_cpu,
        only_main_loads=kind == "FSDP"
        and _true(fsdp.get("fsdp_cpu_ram_efficient_loading", True)),  # the launcher's default
        activation_checkpointing=kind == "FSDP" and _true(fsdp.get("fsdp_activation_checkpointing", False)),
        accumulation=_number(deepspeed.get("gradient_accumulation_steps", 1)),
        model_parallel=_split_by(lambda key: config.parallelism_config.get(f"parallelism_config_{key}_size", 1)),
    )


def live_layout(accelerator: Accelerator) -> Layout:
    """What this process was started in."""
    asked_for_fsdp = _true(os.environ.get("ACCELERATE_USE_FSDP", "false"))
    kind = str(accelerator.distributed_type.value)
    ignored = asked_for_fsdp and accelerator.distributed_type != DistributedType.FSDP
    started = int(os.environ.get("WORLD_SIZE", "1"))
    return Layout(
        kind="FSDP" if ignored else kind,
        processes=max(started, accelerator.num_processes),
        alone=started > accelerator.num_processes,
        machines=max(
            1, accelerator.num_processes // int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
        ),
        on_cpu=accelerator.device.type == "cpu",
        launcher_precision=os.environ.get("ACCELERATE_MIXED_PRECISION"),
        fsdp_version=int(os.environ.get("FSDP_VERSION", "1")) if asked_for_fsdp else None,
        fsdp_ignored=ignored,
        only_main_loads=asked_for_fsdp and _true(os.environ.get("FSDP_CPU_RAM_EFFICIENT_LOADING", "false")),
        activation_checkpointing=asked_for_fsdp and _true(os.environ.get("FSDP_ACTIVATION_CHECKPOINTING", "false")),
        accumulation=accelerator.gradient_accumulation_steps,
        model_parallel=_split_by(lambda key: os.environ.get(f"PARALLELISM_CONFIG_{key.upper()}_SIZE", 1)),
    )


def check_layout(experiment: Experiment, layout: Layout) -> None:
    """Raises ValueError with all `conflicts`."""
    if found := conflicts(experiment, layout):
        raise ValueError("\n".join(found))


def conflicts(experiment: Experiment, layout: Layout) -> list[str]:
    """What cannot work, each with what to do instead."""
    return [
        *_launcher_conflicts(experiment, layout),
        *(_sharding_conflicts(experiment, layout) if layout.sharded else []),
    ]


def _launcher_conflicts(experiment: Experiment, layout: Layout) -> list[str]:
    found = []
    if layout.kind == "DEEPSPEED":
        found.append(DEEPSPEED)
    elif layout.kind not in (*PLAIN, "FSDP"):
        found.append(f"distributed_type {layout.kind} is not supported: use MULTI_GPU, or FSDP with fsdp_version 2")
    if layout.alone:
        found.append(
            f"{layout.processes} processes were asked for, but every one that `accelerate launch` starts would train by itself:"
            " it found no GPU here, or keeps to the CPU without an MPI host file; for CPU processes:"
            f"\n  ACCELERATE_USE_CPU=true torchrun --nproc_per_node {layout.processes} -m recap train FILE"
        )
    if layout.model_parallel:
        found.append(
            f"parallelism_config splits the model by {', '.join(layout.model_parallel)}; only data parallelism is supported,"
            f" plain or sharded ({FSDP2})"
        )
    if layout.launcher_precision not in (None, "no", experiment.mixed_precision):
        allowed = "'no' and 'bf16' are supported; " if layout.launcher_precision not in ("no", "bf16") else ""
        found.append(
            f"the launcher's mixed_precision is {layout.launcher_precision!r}, train.mixed_precision is"
            f" {experiment.mixed_precision!r}: {allowed}say it in the gin file and leave it out of the Accelerate config"
        )
    if layout.accumulation != 1 and layout.kind != "DEEPSPEED":
        found.append(
            f"Accelerate's gradient_accumulation_steps is {layout.accumulation} and would divide every loss by it: set it to 1;"
            " micro-batches are train.accumulation_steps, and their number does not change the gradient"
        )
    return found


def _sharding_conflicts(experiment: Experiment, layout: Layout) -> list[str]:
    found = []
    if layout.fsdp_version != 2:
        found.append(f"fsdp_version is {layout.fsdp_version}: set it to 2 ({FSDP2})")
    if layout.fsdp_ignored:
        found.append(
            "FSDP is asked for, but Accelerate shards on several GPU processes only and would quietly keep whole models here"
        )
    if layout.only_main_loads:
        found.append(
            "fsdp_cpu_ram_efficient_loading (on unless said otherwise) leaves the other processes without weights, but each"
            " of them copies the model for sampling before it is sharded: set it to false"
        )
    if layout.activation_checkpointing and experiment.activation_checkpointing:
        found.append(
            "train.activation_checkpointing and fsdp_activation_checkpointing are both true: every layer would be computed"
            " three times; set the Accelerate config's to false"
        )
    policy = experiment.build_reweighting()
    if experiment.gradient_method or policy.needs_gradient_norms:
        asks = (
            f"train.gradient_method = {experiment.gradient_method!r}"
            if experiment.gradient_method
            else describe(type(policy))
        )
        found.append(
            f"{asks} needs the whole gradient of every objective on every process, which FSDP does not keep: use plain data"
            " parallelism (experiments/accelerate/ddp_8_gpus.yaml)"
        )
    if not experiment.scoring.shared_prefix:
        found.append(
            "scoring.shared_prefix = False runs the model once per completion of a group and once per supervised example,"
            " but processes that share a model must run it equally often: leave it True under FSDP"
        )
    return found


def notes(experiment: Experiment, layout: Layout, weights_dtype: str | None = None) -> list[str]:
    """What works, but perhaps not as meant.

    Args:
        weights_dtype: of the loaded weights, once they are; None: as far as the backend can tell.
    """
    found = []
    prompts, places = experiment.prompts_per_step, layout.processes * experiment.accumulation_steps
    shape = f"{layout.processes} processes x train.accumulation_steps = {experiment.accumulation_steps}"
    if prompts < places:
        found.append(f"train.prompts_per_step = {prompts} leaves {places - prompts} of {shape} micro-batches empty")
    elif prompts % places:
        found.append(
            f"train.prompts_per_step = {prompts} is no multiple of {places} ({shape}): some micro-batches hold a prompt more,"
            " and the others wait; the gradient is the same"
        )
    if layout.sharded:
        precision = "bf16" if experiment.mixed_precision == "bf16" else "the weights' precision"
        copies = ["to sample from"]
        if experiment.copies_reference:
            copies.append("as the reference of the KL term")
        found.append(
            f"beside its shard every process keeps a whole copy of the model in {precision} {' and one '.join(copies)}:"
            " 2 bytes (bf16) or 4 (float32) per parameter each"
        )
    if layout.machines > 1:
        found.append(
            f"{layout.machines} machines need a file system that all of them see for the run directory (--output)"
        )
    dtype = weights_dtype or experiment.model.weights_dtype
    if experiment.adapter is None and dtype in ("bfloat16", "float16"):
        found.append(
            f"the weights that are trained are {dtype}: updates smaller than its rounding are lost, at a learning rate of 1e-6"
            " nearly all. Load them as float32 (backends.huggingface.dtype), whatever train.mixed_precision is"
        )
    attention = getattr(experiment.model, "attention", None)
    if str(attention).startswith("flash"):
        found.append(
            f"attention = {attention!r}: 'sdpa' is faster here. Flash attention takes no mask of its own, so that completions"
            " cannot be packed behind their prompt: the loss computes prompt and picture once per completion,"
            f" {experiment.rollout.group_size} times, and decoding copies the prompt's keys and values as often"
        )
    if experiment.adapter is not None and experiment.mixed_precision == "bf16" and not layout.sharded:
        found.append(
            "under the adapter the frozen base is held in bfloat16, the adapter in float32; load the base in either"
            " (backends.huggingface.dtype = 'auto' takes half the memory for loading)"
        )
    if layout.on_cpu and _gpus():
        found.append(f"the launch keeps to the CPU, but this machine has {_gpus()} GPUs")
    return found


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _split_by(size: Any) -> tuple[str, ...]:
    return tuple(key for key in ("tp", "cp", "sp") if int(size(key)) > 1)


def _true(value: object) -> bool:
    return str(value).lower() in ("true", "1", "yes")


def _number(value: object) -> int:
    return 1 if value == "auto" else int(str(value))
