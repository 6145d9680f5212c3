"""bf16 on a GPU; skipped where there is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from recap.experiment.config import LoadedConfig
from recap.learning.trainer import Trainer


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_bf16_step_updates_the_model(small: Callable[..., LoadedConfig]) -> None:
    trainer = Trainer(small("train.mixed_precision = 'bf16'").experiment)
    before = torch.cat([p.detach().flatten().clone() for p in trainer.loaded.model.parameters()])
    result = trainer.step()
    assert trainer.accelerator.device.type == "cuda"
    assert result.updated
    assert not torch.equal(before, torch.cat([p.detach().flatten() for p in trainer.loaded.model.parameters()]))
