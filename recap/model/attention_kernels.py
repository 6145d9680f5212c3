"""Attention of queries to one set of keys, and how those to several sets become one.

A softmax over two sets of keys is the softmaxes over each, weighted by their normalisers:

```
o = o1 exp(z1 - z) + o2 exp(z2 - z)     z = log(exp z1 + exp z2)
```

Fused kernels give o and z of each set, and their backward, told the o and z of both together, gives the gradients
of the whole (as in ring attention, Liu et al., arXiv 2310.01889).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

aten = torch.ops.aten


class Attended(NamedTuple):
    """Of queries [B, heads, S, d] over one set of keys: outputs, [B, heads, S, d], and normalisers, [B, heads, S]."""

    output: Tensor
    normaliser: Tensor


def flash(query: Tensor, key: Tensor, value: Tensor, scale: float, *, causal: bool) -> Attended:
    """The fused kernel, without graph; keys and values may have fewer heads than queries."""
    if query.device.type == "cpu":
        return Attended(*aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, causal, scale=scale))
    output, normaliser, *_ = aten._scaled_dot_product_flash_attention(query, key, value, 0.0, causal, scale=scale)
    return Attended(output, normaliser)


def flash_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, found: Attended, scale: float, *, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values; `found` may be that of a larger set, of which these keys are a part."""
    states = (gradient, query, key, value, found.output, found.normaliser)
    if query.device.type == "cpu":
        gradients = aten._scaled_dot_product_flash_attention_for_cpu_backward(*states, 0.0, causal, scale=scale)
    else:
        lengths = (None, None, query.shape[2], key.shape[2])
        no_seed = torch.zeros(2, dtype=torch.uint64, device=query.device)  # nothing is dropped
        gradients = aten._scaled_dot_product_flash_attention_backward(
            *states, *lengths, 0.0, causal, no_seed, no_seed, scale=scale
        )
    found_gradients: tuple[Tensor, Tensor, Tensor] = gradients
    return found_gradients


def attend_to(query: Tensor, key: Tensor, value: Tensor, scale: float, bias: Tensor | None = None) -> Attended:
    """Of few queries, without graph, to all keys of as many heads; `bias` is added to the scores, [B, 1, 1, keys]."""
    if query.device.type != "cpu":
        return attend_plainly(query, key, value, scale, bias)
    states = (query, key, value, 0.0, False)
    return Attended(*aten._scaled_dot_product_flash_attention_for_cpu(*states, attn_mask=bias, scale=scale))


def attend_plainly(query: Tensor, key: Tensor, value: Tensor, scale: float, bias: Tensor | None) -> Attended:
    """`attend_to` with the scores at hand."""
    scores = (query @ key.mT).float() * scale
    if bias is not None:
        scores = scores + bias
    normaliser = scores.logsumexp(-1)
    return Attended((scores - normaliser[..., None]).exp().to(value.dtype) @ value, normaliser)


def merge(one: Attended, other: Attended) -> Attended:
    """Over both sets of keys."""
    normaliser = torch.logaddexp(one.normaliser, other.normaliser)
    output = one.output * (one.normaliser - normaliser).exp()[..., None]
    output += other.output * (other.normaliser - normaliser).exp()[..., None]
    return Attended(output.to(one.output.dtype), normaliser)
