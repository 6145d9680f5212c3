"""Which savings a model stands: compared at their first use with the plain forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from recap.model.precision import probing
from registry.backends.base import EncodedPrompts

PROBE_TOKENS = 16  # completion tokens per completion in the comparison

Settings = TypeVar("Settings")


@probing()
def settle(
    model: PreTrainedModel,
    plain: Settings,
    candidates: Sequence[Settings],
    log_probs: Callable[[Settings, EncodedPrompts, Tensor, Tensor], Tensor],
    prompts: EncodedPrompts,
    ids: Tensor,
    agree: Callable[[bool], bool],
) -> tuple[Settings, str]:
    """The first of the candidates that gives the log-probs of the plain way, else the plain way; and why not an earlier one.

    Compared are two completions per prompt, of which the second must not notice the first. However many there are, this
    takes one forward per candidate and one for the plain way, so that processes which shard a model stay in step.

    Args:
        log_probs: of completions under given settings, from prompts, ids and mask.
        ids: [P * G, T], of completions.
        agree: whether something holds on all processes.
    """
    group_size, reason = len(ids) // len(prompts), ""
    first = torch.arange(len(prompts), device=ids.device) * group_size
    pair = torch.stack([first, first + min(1, group_size - 1)], dim=1)  # a lone completion twice
    pair, second = pair.flatten(), pair[:, 1]
    ids = torch.cat([ids, ids], dim=1)[:, :PROBE_TOKENS]  # two tokens at least: one would need nothing packed
    mask = torch.ones_like(ids)
    was_training = model.training
    model.eval()
    try:
        expected = log_probs(plain, prompts, ids[second], mask[second])
        for candidate in candidates:
            stands = False
            try:
                difference = (log_probs(candidate, prompts, ids[pair], mask[pair])[1::2] - expected).abs()
                stands = same_log_probs(model, difference)
                if not stands:
                    reason = reason or f"log-probs differ by up to {float(difference.max()):.2g}"
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # whatever a model raises at a mask or an output that it does not expect
                reason = reason or f"{type(error).__name__}: {error}"
            if agree(stands):
                return candidate, reason or "another process found that the model does not stand it"
        return plain, reason or "another process found that the model does not stand it"
    finally:
        model.train(was_training)


def same_log_probs(model: PreTrainedModel, difference: Tensor) -> bool:
    """Whether log-probs that differ by this are the same, up to the rounding of the model's precision."""
    if model.dtype == torch.float32 and not torch.is_autocast_enabled(difference.device.type):
        return bool(difference.max() < 1e-3)
    return bool(difference.mean() < 0.05)
