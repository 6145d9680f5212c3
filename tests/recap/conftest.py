"""Small stand-ins that the engine's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gin
import pytest
import torch

from registry.backends.base import LoadedModel
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL


@pytest.fixture(autouse=True)
def _clean_gin() -> Iterator[None]:
    """gin's configuration is global; every test starts and ends without one."""
    gin.clear_config()
    yield
    gin.clear_config()


@pytest.fixture(autouse=True)
def _local_tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture(scope="session")
def random_tiny() -> LoadedModel:
    """The tiny architecture with fresh weights; do not train it."""
    torch.manual_seed(0)
    return TinyQwen2_5_VL(weights="random").load()
