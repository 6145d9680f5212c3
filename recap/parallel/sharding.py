"""What FSDP2 needs of us, so that processes which share one model stay in step."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import FullyShardedDataParallelPlugin
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy

from recap.model.scoring import Scorer


def fsdp_plugin(mixed_precision: str) -> FullyShardedDataParallelPlugin | None:
    """The settings of `accelerate launch --config_file`, but gradients are summed in fp32; None without FSDP.

    Accelerate's own choice under bf16 sums gradients over processes in bf16 and rounds log-probs to it: importance ratios
    would be wrong by some per cent, and the gradient would depend on the number of processes.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true" or os.environ.get("FSDP_VERSION") != "2":
        return None
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    return FullyShardedDataParallelPlugin(mixed_precision_policy=policy if mixed_precision == "bf16" else None)


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether a process holds only its shard of the trained parameters."""
    return bool(accelerator.distributed_type == DistributedType.FSDP)


def ready_sharded(scorer: nn.Module, everywhere: Callable[[bool], bool]) -> None:
    """Makes every pass of a scorer that FSDP2 has sharded the same sequence of collectives, whatever its micro-batch holds.

    Args:
        everywhere: whether something holds on all processes.

    Raises:
        ValueError: parts are sharded by themselves that not every micro-batch runs; the installed torch is too old.
    """
    assert isinstance(scorer, Scorer)
    assert isinstance(scorer, FSDPModule)
    decoder = scorer.model.get_decoder()
    inside = set(decoder.modules())
    outside = [
        name
        for name, module in scorer.named_modules()
        if isinstance(module, FSDPModule) and module is not scorer and module not in inside
    ]
    if outside:
        raise ValueError(
            f"FSDP would shard {outside[0]} and {len(outside) - 1} more as units of their own. They do not run where a"
            " micro-batch holds no picture, and the other processes would wait for them forever: leave"
            " fsdp_transformer_layer_cls_to_wrap out of the Accelerate config, or name layers of the language model only"
        )
    if not hasattr(scorer, "set_reduce_scatter_unused_params"):
        raise ValueError(
            f"FSDP2 of torch {torch.__version__} cannot sum gradients where a picture is on one process only: 2.13 can"
        )
    scorer.set_reduce_scatter_unused_params(True)
    scorer.agree, scorer.one_forward = everywhere, True
