"""Which savings a model stands: compared at their first use with the plain forward.

In fp32 two right ways give the same to four digits. In bf16 they do not: the order of a sum decides how its terms are rounded,
and every layer passes that on. How far rounding alone takes a model from itself is measured, by a second plain forward whose
embeddings are off by one rounding; a way may differ by a small multiple of that. Padding or another batch would not do as the
measure: on a CPU the rows of a batch do not notice each other (the difference is 0), and a model that ignores its mask would
have its padding called rounding.

Both differences are over the whole vocabulary, every token alike. Weighted by probability they would be the luck of a few
numbers: a model that is nearly certain of most tokens shows rounding, and faults, only at the one or two that it is not
certain of, and whether a logit there is rounded to the same side once more is a coin's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from recap.model.precision import probing

PRECISE = 1e-3
"""In fp32, log-probs that differ by less are the same; so are those of lower precision that typically differ by less."""
ROUNDINGS = 3.0
"""Times the measured effect of rounding that a way may differ. In bf16, by autocast or weights, right ways come to 1.1 at most
(the trained tiny Qwen2.5-VL, 48 prompts; SmolLM2-135M, 64 prompts in each precision); SmolLM2 deaf to its mask comes to 21 and
more, and on the tiny model ways that let completions see each other, misplace them, take a wrong first token or hide one of the
prompt come to 9.5 and more."""

Way = TypeVar("Way")


@dataclass(frozen=True)
class Settled(Generic[Way]):
    """The way that was settled for, and why.

    Attributes:
        way: the first that gives what the plain way gives, else the plain way.
        wanted: the first choice.
        reason: why not the first choice; empty where it was taken.
        difference: of the first choice's distributions from the plain way's, in nats: the root mean square, over all tokens
            that can be sampled, of Δ log p less its mean in each distribution; NaN where it was not measured.
        rounding: the same of rounding alone; 0 in fp32, NaN where it was not measured.
    """

    way: Way
    wanted: Way
    reason: str = ""
    difference: float = float("nan")
    rounding: float = float("nan")

    @property
    def fell_back(self) -> bool:
        return self.way != self.wanted


@probing()
def settle(
    model: PreTrainedModel,
    candidates: Sequence[Way],
    distributions: Callable[[Way], Tensor],
    agree: Callable[[bool], bool] = bool,
) -> Settled[Way]:
    """The first of the candidates that gives what the last one, the plain way, gives.

    Takes a forward of the plain way, a second one below fp32, and one of each candidate up to the one that is taken, so that
    processes which shard a model stay in step.

    Args:
        candidates: the plain way last.
        distributions: log-probs under a way, [N, V], -inf for tokens that are never sampled; the same N of all ways.
        agree: whether something holds on all processes; asked once per candidate.
    """
    *savings, plain = candidates
    if not savings:
        return Settled(plain, plain)
    reason, first = "", float("nan")
    was_training = model.training
    model.eval()
    try:
        expected = distributions(plain)
        rounding = 0.0
        if unit := unit_of_rounding(model):
            with rounded_embeddings(model, unit):
                rounding = _typical_difference(distributions(plain), expected)
        for index, candidate in enumerate(savings):
            stands, typical = False, float("nan")
            try:
                found = distributions(candidate)
                typical, largest = _typical_difference(found, expected), _largest_difference(found, expected)
                del found
                stands = typical <= ROUNDINGS * rounding + PRECISE if unit else largest < PRECISE
                if not stands:
                    reason = reason or (
                        f"log-probs differ by up to {largest:.2g}, typically {typical:.2g} (rounding: {rounding:.2g})"
                    )
            except torch.OutOfMemoryError:
                raise
            except (
                Exception
            ) as error:  # whatever a model raises at a mask, a cache or an output that it does not expect
                reason = reason or f"{type(error).__name__}: {error}"
            first = typical if index == 0 else first
            if agree(stands):
                return Settled(candidate, savings[0], _why(reason) if index else "", first, rounding)
        return Settled(plain, candidates[0], _why(reason), first, rounding)
    finally:
        model.train(was_training)


def _why(reason: str) -> str:
    return reason or "another process found that the model does not stand it"


def _typical_difference(found: Tensor, expected: Tensor) -> float:
    """Root mean square of Δ log p in nats, less its mean in each distribution, over the tokens that can be sampled.

    Less its mean, since log-probs also share what the normaliser does, which follows the likeliest token alone.
    """
    impossible = expected.isneginf()
    possible = impossible.logical_not().sum(-1, keepdim=True)
    change = (found - expected).masked_fill_(impossible, 0.0)
    change = change.sub_(change.sum(-1, keepdim=True) / possible).masked_fill_(impossible, 0.0)
    return float(torch.linalg.vector_norm(change) / possible.sum().sqrt())


def _largest_difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().masked_fill_(expected.isneginf(), 0.0).max())


def unit_of_rounding(model: PreTrainedModel) -> float:
    """By how much of itself a number may be off after rounding, in the precision that the model computes in; 0 in fp32."""
    kind = model.device.type
    computed = {parameter.dtype for parameter in model.parameters()}
    if torch.is_autocast_enabled(kind):
        computed.add(torch.get_autocast_dtype(kind))
    units = [torch.finfo(dtype).eps / 2 for dtype in (torch.float16, torch.bfloat16) if dtype in computed]
    if kind == "cuda" and torch.get_float32_matmul_precision() != "highest":
        units.append(2.0**-11)  # TF32
    return max(units, default=0.0)


@contextmanager
def rounded_embeddings(model: PreTrainedModel, unit: float) -> Iterator[None]:
    """Within it, the embeddings of tokens are off by one rounding, up and down in turn."""

    def off(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        sign = 1 - 2 * (torch.arange(output.shape[-1], device=output.device) % 2)
        return output + output * (sign * unit).to(output.dtype)

    handle = model.get_input_embeddings().register_forward_hook(off)
    try:
        yield
    finally:
        handle.remove()
