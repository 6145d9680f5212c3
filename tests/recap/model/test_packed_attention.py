"""Attention in packed rows is that of one text per completion, gradients included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recap.model.packed_attention import Layout, has_kernel, lay_out, packed_attention, repeated_attention

D = 16


def one_text_each(
    query: Tensor, key: Tensor, value: Tensor, prompt: tuple[Tensor, Tensor] | None, layout: Layout, scale: float
) -> Tensor:
    """Row by row with a dense softmax: every token attends to its prompt and to its own completion up to itself."""
    repeats = query.shape[1] // key.shape[1]
    key, value = (states.repeat_interleave(repeats, 1) for states in (key, value))
    length = layout.prompt_length
    output = 0 * (query + key.sum() + value.sum() + (0 if prompt is None else prompt[0].sum() + prompt[1].sum()))
    for p in range(len(query)):
        start, end = layout.spans[p] if layout.spans else (0, None)
        keys, values = (key[p, :, :length], value[p, :, :length]) if prompt is None else (s[p] for s in prompt)
        if prompt is not None:
            keys, values = (states.repeat_interleave(repeats, 0) for states in (keys, values))
        keys, values = keys[:, start:end], values[:, start:end]
        texts = [torch.arange(keys.shape[1])] if prompt is None else []
        for g in range(layout.group_size):
            row = p * layout.group_size + g
            texts.append(length + layout.places[1][row][layout.real[row]])
        for text in texts:
            before = [] if len(text) and text[0] < length else [(keys, values)]
            for n, column in enumerate(text):
                own = text[: n + 1]
                seen = torch.cat([*(k for k, _ in before), key[p][:, own]], dim=1)
                said = torch.cat([*(v for _, v in before), value[p][:, own]], dim=1)
                weights = torch.softmax((seen @ query[p, :, column, :, None])[..., 0] * scale, dim=-1)
                output[p, :, column] = (weights[:, None] @ said)[:, 0]
    return output.transpose(1, 2)


def results(function: object, states: list[Tensor], layout: Layout, inside: bool) -> list[Tensor]:
    """Outputs of all real tokens, 0 elsewhere, and the gradients of all inputs."""
    prompt = None if inside else (states[3], states[4])
    output = function(*states[:3], prompt, layout, 0.3)  # type: ignore[operator]
    real = layout.written
    if inside:
        ends = [end for _, end in layout.spans] if layout.spans else [layout.prompt_length] * len(real)
        of_prompt = torch.arange(layout.prompt_length) < torch.tensor(ends)[:, None]
        real = torch.cat([of_prompt, real], dim=1)
    output = output * real[..., None, None]
    return [output, *torch.autograd.grad((output**3).sum(), states[: 3 if inside else 5])]


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("function", [packed_attention, repeated_attention])
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_every_completion_is_a_text_of_its_own(function: object, inside: bool, data: st.DataObject) -> None:
    """Any lengths of prompts and completions, some of no token at all, and any grouping of heads."""
    prompts, group_size, repeats = (data.draw(st.integers(1, high)) for high in (3, 4, 3))
    of_prompts = data.draw(st.lists(st.integers(1, 6), min_size=prompts, max_size=prompts))
    lengths = st.integers(0, 5)
    of_completions = data.draw(st.lists(lengths, min_size=prompts * group_size, max_size=prompts * group_size))
    widest, longest = max(of_prompts), max(1, *of_completions)
    prompt_mask = torch.arange(widest) >= widest - torch.tensor(of_prompts)[:, None]
    real = torch.arange(longest) < torch.tensor(of_completions)[:, None]
    layout = lay_out(prompt_mask, real, inside=inside)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    columns = layout.prompt_length + layout.written.shape[1]
    shapes = [(prompts, 2 * repeats, columns, D)] + [(prompts, 2, columns, D)] * 2 + [(prompts, 2, widest, D)] * 2
    states = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
    found, expected = (results(each, states, layout, inside) for each in (function, one_text_each))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)  # in double precision: to 1e-7


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("width", "repeats"), [(32, 1), (64, 4), (128, 7)])
def test_kernels_serve_the_usual_kinds(dtype: torch.dtype, width: int, repeats: int) -> None:
    assert has_kernel("cpu", dtype, width, repeats)


def test_a_kernel_whose_gradient_is_wrong_is_found(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import recap.model.packed_attention as module

    right = module.flash_backward
    monkeypatch.setattr(module, "flash_backward", lambda *args, **kw: tuple(1.1 * g for g in right(*args, **kw)))
    assert not has_kernel.__wrapped__("cpu", torch.float32, 32, 2)
    assert "prompts are repeated" in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("width", "repeats"), [(64, 1), (128, 4), (128, 7)])
def test_kernels_serve_a_gpu(width: int, repeats: int) -> None:
    assert has_kernel("cuda", torch.bfloat16, width, repeats)


def test_no_more_is_kept_for_backward_than_of_one_text() -> None:
    """Queries, keys, values, outputs and a normaliser per query: nothing that grows with G x L or T x T."""
    kept: list[int] = []
    layout = lay_out(torch.ones(1, 50, dtype=torch.bool), torch.ones(8, 30, dtype=torch.bool), inside=True)
    tokens = 50 + 8 * 30
    query, key, value = (torch.randn(1, heads, tokens, D, requires_grad=True) for heads in (4, 2, 2))

    def count(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        packed_attention(query, key, value, None, layout, 0.3)
    assert sum(kept) == tokens * (4 * D + 2 * D + 2 * D + 4 * D + 4)
