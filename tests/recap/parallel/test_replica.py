"""Copies of a model take the memory of what they keep, and no more on the way."""

from __future__ import annotations

import pytest
import torch

from recap.experiment.trace import LiveBytes
from recap.parallel.replica import frozen_copy
from registry.backends.base import LoadedModel


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_copy_is_made_in_its_own_precision(random_tiny: LoadedModel, dtype: torch.dtype | None) -> None:
    """Not whole in fp32 first: of a model loaded in host memory, that would be a second one."""
    model = random_tiny.model.train()
    live = LiveBytes(model)
    with live:
        twin = frozen_copy(model, torch.device("cpu"), dtype)
    kept = [*twin.parameters(), *twin.buffers()]
    assert live.peak.total() <= 1.05 * sum(tensor.numel() * tensor.element_size() for tensor in kept)

    assert model.training
    assert not twin.training
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    assert twin.get_input_embeddings().weight is twin.get_output_embeddings().weight
    assert list(twin.state_dict()) == list(model.state_dict())
    own = {tensor.data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    for (name, copied), tensor in zip(twin.named_parameters(), model.parameters(), strict=True):
        assert copied.data_ptr() not in own, name
        assert torch.equal(copied, tensor.to(dtype or tensor.dtype)), name
    for copied, tensor in zip(twin.buffers(), model.buffers(), strict=True):
        assert copied.data_ptr() not in own
        assert copied.dtype == tensor.dtype
        assert torch.equal(copied, tensor)
