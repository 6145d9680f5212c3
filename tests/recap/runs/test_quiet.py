"""What is silenced is not heard, and nothing else is silenced with it."""

from __future__ import annotations

import logging

import pytest
import torch
from accelerate import PartialState
from accelerate.utils import clean_state_dict_for_safetensors

from recap.runs.quiet import SILENCED, silence


def test_a_checkpoint_of_tied_weights_is_saved_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    silence()
    PartialState()
    tied = torch.ones(3)
    assert len(clean_state_dict_for_safetensors({"head": tied, "embeddings": tied})) == 1
    assert not caplog.records


def test_other_warnings_of_the_same_libraries_are_heard(caplog: pytest.LogCaptureFixture) -> None:
    silence()
    for silenced in SILENCED:
        assert silenced.because
        logging.getLogger(silenced.logger).warning("the disk is full")
    assert len(caplog.records) == len(SILENCED)
