"""A decode step's attention: each completion to its prompt and to itself, whoever has left."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recap.model.attention_kernels import attend_plainly, attend_to
from recap.model.decode_batch import SharedPrefix

D = 8


@settings(deadline=None, max_examples=50)
@given(st.data(), st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_rows_attend_to_their_prompt_and_themselves(
    data: st.DataObject, prompts: int, group_size: int, repeats: int, padded: bool
) -> None:
    """Also after completions, and whole groups, have left twice."""
    generator = torch.Generator().manual_seed(prompts)
    length, own = 6, 3
    keys, values = torch.randn(2, prompts, 2, length, D, generator=generator)
    bias = torch.zeros(prompts, 1, 1, length)
    if padded:
        bias[0, ..., :2] = -torch.inf
    shared = SharedPrefix([(keys, values)], bias if padded else None, group_size)
    completion = torch.arange(prompts * group_size)
    for _ in range(3):
        query = torch.randn(len(completion), 2 * repeats, 1, D, generator=generator)
        key, value = torch.randn(2, len(completion), 2, own, D, generator=generator)
        prompt = completion // group_size
        found = shared.attend(0, query, key, value, 0.4, 0.0)
        whole = [torch.cat([outer[prompt], inner], 2) for outer, inner in ((keys, key), (values, value))]
        mask = torch.cat([bias[prompt], torch.zeros(len(prompt), 1, 1, own)], dim=-1)
        whole = [states.repeat_interleave(repeats, 1) for states in whole]
        expected = torch.nn.functional.scaled_dot_product_attention(query, *whole, mask, scale=0.4)
        torch.testing.assert_close(found, expected.transpose(1, 2))
        left = sorted(data.draw(st.sets(st.sampled_from(range(len(completion))), min_size=1)))
        before, completion = prompt.unique(), completion[left]
        shared = shared.of_rows(torch.searchsorted(before, completion // group_size))
        assert len(shared.keys_values[0][0]) == len((completion // group_size).unique())


def test_without_a_kernel_it_is_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, n, D, generator=generator) for n in (4, 5, 5))
    bias = torch.tensor([[0.0] * 5, [-torch.inf] * 2 + [0.0] * 3])[:, None, None]
    for own in (None, bias):
        for found, expected in zip(
            attend_plainly(query, key, value, 0.4, own), attend_to(query, key, value, 0.4, own), strict=True
        ):
            torch.testing.assert_close(found, expected)
