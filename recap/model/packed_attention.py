"""Attention in packed rows: of completions to their prompt, which is there once, and to what each has said itself.

Nothing is masked, repeated or kept that one causal text would not need: G completions of T tokens behind a prompt of L
attend to G * T * (L + T / 2) pairs.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from recap.model.attention_kernels import Attended, flash, flash_backward, merge
from recap.model.shared_attention import KeysValues

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """P groups of G completions in P rows of L prompt tokens and C of completions, each flush left.

    Attributes:
        prompt_length: L; 0 where the prompts' keys come from elsewhere.
        spans: of each prompt, first and behind the last column of its keys; None: all.
        group_size: G.
        real: [P * G, T], the tokens of completions.
        places: where each stands, rows and columns of C, twice [P * G, T]; anywhere for what is not real.
        origins: the inverse: completion and token of each column, twice [P, C].
        written: [P, C], false in the padding of a row.
        complete: whether nothing is padded, so that C = G * T.
    """

    prompt_length: int
    spans: list[tuple[int, int]] | None
    group_size: int
    real: Tensor
    places: tuple[Tensor, Tensor]
    origins: tuple[Tensor, Tensor]
    written: Tensor
    complete: bool

    def apart(self, states: Tensor) -> Tensor:
        """A row per completion: [P, heads, C, ...] -> [P * G, heads, T, ...]; what is beyond its end means nothing."""
        if self.complete:
            return rearrange(states, "p h (g t) ... -> (p g) h t ...", g=self.group_size)
        return states.transpose(1, 2)[self.places].transpose(1, 2)

    def together(self, states: Tensor) -> Tensor:
        """A row per group: [P * G, heads, T, ...] -> [P, heads, C, ...]; 0 in the padding."""
        if self.complete:
            return rearrange(states, "(p g) h t ... -> p h (g t) ...", g=self.group_size)
        found = states.transpose(1, 2)[self.origins].transpose(1, 2)
        unwritten = ~self.written.view(len(self.written), 1, -1, *[1] * (found.ndim - 3))
        return found.masked_fill_(unwritten, 0)

    def per_span(self) -> list[tuple[slice, slice]]:
        """Groups and columns of keys that are attended to in one go, nothing in them padding."""
        if self.spans is None:
            return [(slice(None), slice(None))]
        return [(slice(p, p + 1), slice(*span)) for p, span in enumerate(self.spans)]


def lay_out(prompt_mask: Tensor, real: Tensor, *, inside: bool) -> Layout:
    """The layout of P prompts and their completions.

    Args:
        prompt_mask: [P, L], padded on the left.
        real: [P * G, T], true for tokens of completions; T at least 1.
        inside: whether the prompts are in the rows, where their padding comes last.
    """
    (num_prompts, width), length = prompt_mask.shape, real.shape[1]
    group_size = len(real) // num_prompts
    row = torch.arange(num_prompts, device=real.device)[:, None]
    written = rearrange(real, "(p g) t -> p (g t)", p=num_prompts)
    order = real_first(written)
    column = rearrange((written.cumsum(1) - 1).clamp(min=0), "p (g t) -> (p g) t", g=group_size)
    spans = None
    if not prompt_mask.all():
        lengths = prompt_mask.sum(1).tolist()
        spans = [(0, own) if inside else (width - own, width) for own in lengths]
    return Layout(
        prompt_length=int(prompt_mask.sum(1).max()) if inside else 0,
        spans=spans,
        group_size=group_size,
        real=real,
        places=(repeat(row, "p 1 -> (p g) t", g=group_size, t=length), column),
        origins=(row * group_size + order // length, order % length),
        written=written.gather(1, order),
        complete=bool(real.all()),
    )


def real_first(real: Tensor) -> Tensor:
    """Columns in an order that puts what is real first, as many as the fullest row needs, at least one: [P, n]."""
    width = max(1, int(real.sum(1).max()))
    return (~real).to(torch.int8).argsort(dim=1, stable=True)[:, :width]


class _Packed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        prompt_key: Tensor | None,
        prompt_value: Tensor | None,
        layout: Layout,
        scale: float,
    ) -> Tensor:
        inside, completions = _halves(layout.prompt_length)
        own_query, own_key, own_value = (layout.apart(states[completions]) for states in (query, key, value))
        apart = flash(own_query, own_key, own_value, scale, causal=True)
        own = Attended(layout.together(apart.output), layout.together(apart.normaliser))
        del own_query, own_key, own_value, apart
        keys, values = _prompt(key, value, prompt_key, prompt_value, inside)
        of_prompt = [
            flash(query[completions][p], keys[p][:, :, span], values[p][:, :, span], scale, causal=False)
            for p, span in layout.per_span()
        ]
        output = query.new_empty(query.shape[0], query.shape[2], query.shape[1], value.shape[3])
        normaliser = torch.empty(query.shape[:3], dtype=own.normaliser.dtype, device=query.device)
        rows = output.transpose(1, 2)
        rows[completions], normaliser[completions] = merge(_stacked(of_prompt), own)
        if layout.prompt_length:
            rows[inside], normaliser[inside] = flash(query[inside], keys, values, scale, causal=True)
        ctx.save_for_backward(query, key, value, prompt_key, prompt_value, output, normaliser)
        ctx.layout, ctx.scale = layout, scale
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        query, key, value, prompt_key, prompt_value, output, normaliser = ctx.saved_tensors
        layout, scale = ctx.layout, ctx.scale
        inside, completions = _halves(layout.prompt_length)
        gradient, found = gradient.transpose(1, 2), Attended(output.transpose(1, 2), normaliser)

        of_query, of_key, of_value = _own_gradients(gradient, query, key, value, found, layout, scale)
        keys, values = _prompt(key, value, prompt_key, prompt_value, inside)
        of_keys, of_values = torch.zeros_like(keys), torch.zeros_like(values)
        for p, span in layout.per_span():
            own = Attended(found.output[completions][p], found.normaliser[completions][p])
            more, of_keys[p][:, :, span], of_values[p][:, :, span] = flash_backward(
                gradient[completions][p],
                query[completions][p],
                keys[p][:, :, span],
                values[p][:, :, span],
                own,
                scale,
                causal=False,
            )
            of_query[p] += more
        if not layout.prompt_length:
            return of_query, of_key, of_value, of_keys, of_values, None, None
        own = Attended(found.output[inside], found.normaliser[inside])
        first = flash_backward(gradient[inside], query[inside], keys, values, own, scale, causal=True)
        pairs = ((first[0], of_query), (of_keys.add_(first[1]), of_key), (of_values.add_(first[2]), of_value))
        return *(torch.cat(pair, dim=2) for pair in pairs), None, None, None, None


def _own_gradients(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, found: Attended, layout: Layout, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What completions attending to themselves give to their queries, keys and values: of C columns."""
    _, completions = _halves(layout.prompt_length)
    gradient, query, key, value, output, normaliser = (
        layout.apart(part[completions]) for part in (gradient, query, key, value, *found)
    )
    if not layout.complete:  # what is beyond the end of a completion says nothing
        padding = ~layout.real[:, None]
        normaliser = normaliser.masked_fill(padding, torch.inf)
        gradient = gradient.masked_fill(padding[..., None], 0)
    gradients = flash_backward(gradient, query, key, value, Attended(output, normaliser), scale, causal=True)
    of_query, of_key, of_value = map(layout.together, gradients)
    return of_query, of_key, of_value


def _prompt(
    key: Tensor, value: Tensor, prompt_key: Tensor | None, prompt_value: Tensor | None, inside: tuple[slice, ...]
) -> KeysValues:
    """Keys and values of prompts, in the rows or not."""
    if prompt_key is None or prompt_value is None:
        return key[inside], value[inside]
    return prompt_key, prompt_value


def _halves(prompt_length: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Index of the prompts, and of the completions, in [P, heads, L + C, ...]."""
    every = slice(None)
    return (every, every, slice(prompt_length)), (every, every, slice(prompt_length, None))


def _stacked(parts: list[Attended]) -> Attended:
    if len(parts) == 1:
        return parts[0]
    outputs, normalisers = zip(*parts, strict=True)
    return Attended(torch.cat(outputs), torch.cat(normalisers))


def packed_attention(
    query: Tensor, key: Tensor, value: Tensor, prompt: KeysValues | None, layout: Layout, scale: float
) -> Tensor:
    """Attention of whole rows, by fused kernels; keeps for backward what one text of that length would.

    Args:
        query, key, value: [P, heads, L + C, d]; keys and values may have fewer heads.
        prompt: keys and values of prompts that are not in the rows.

    Returns: [P, L + C, heads, d].
    """
    output: Tensor = _Packed.apply(query, key, value, *(prompt or (None, None)), layout, scale)  # type: ignore[no-untyped-call]
    return output


def repeated_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prompt: KeysValues | None,
    layout: Layout,
    scale: float,
    dropout: float = 0.0,
) -> Tensor:
    """The same by torch's attention, with each prompt's keys and values repeated for its completions."""
    inside, completions = _halves(layout.prompt_length)
    keys, values = (key[inside], value[inside]) if prompt is None else prompt
    repeats, length = query.shape[1] // key.shape[1], layout.real.shape[1]

    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        key, value = (states.repeat_interleave(repeats, 1) for states in (key, value))
        return scaled_dot_product_attention(query, key, value, mask, dropout, is_causal=mask is None, scale=scale)

    whole_key, whole_value = (
        torch.cat([outer.repeat_interleave(layout.group_size, 0), layout.apart(own[completions])], 2)
        for outer, own in ((keys, key), (values, value))
    )
    mask = torch.ones(len(layout.real), 1, length, whole_key.shape[2], dtype=torch.bool, device=query.device)
    mask[..., -length:].tril_()
    for p, (start, end) in enumerate(layout.spans or ()):
        group = slice(p * layout.group_size, (p + 1) * layout.group_size)
        mask[group, ..., :start] = mask[group, ..., end:-length] = False
    outputs = [layout.together(attend(layout.apart(query[completions]), whole_key, whole_value, mask))]
    if layout.prompt_length:
        outputs.insert(0, attend(query[inside], keys, values, None))
    return torch.cat(outputs, dim=2).transpose(1, 2)


@functools.lru_cache
def has_kernel(device: str, dtype: torch.dtype, width: int, repeats: int) -> bool:
    """Whether the fused kernels serve tensors of this kind; found out on small ones, gradients included.

    Args:
        width: of a head.
        repeats: heads of queries per head of keys.
    """
    generator = torch.Generator().manual_seed(0)
    prompt_mask = torch.tensor([[1, 1, 1], [0, 1, 1]], dtype=torch.bool)
    real = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]], dtype=torch.bool)
    layout = lay_out(prompt_mask.to(device), real.to(device), inside=True)
    counts = torch.cat([prompt_mask.flip(1).to(device), layout.written], dim=1)
    with torch.enable_grad(), torch.autocast(device, enabled=False):
        heads = (repeats, 1, 1)
        states = [torch.randn(2, n, 8, width, generator=generator).to(device, dtype).requires_grad_() for n in heads]
        arguments = (*states, None, layout, width**-0.5)
        results = []
        for function in (packed_attention, repeated_attention):
            try:
                output = function(*arguments)[counts].float()
                results.append([output, *torch.autograd.grad((output**3).sum(), states)])
            except (RuntimeError, NotImplementedError, TypeError) as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                logger.warning("no fused attention over shared prompts on %s in %s: %s", device, dtype, error)
                return False
    allowed = 1e-3 if dtype == torch.float32 else 0.05
    same = all((a - b).float().norm() <= allowed * b.float().norm() for a, b in zip(*results, strict=True))
    if not same:
        logger.warning("fused attention over shared prompts is wrong on %s in %s; prompts are repeated", device, dtype)
    return same
