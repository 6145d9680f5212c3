"""Small stand-ins that the engine's tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import gin
import pytest
import torch

from recap.experiment.config import LoadedConfig, load_config
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


QUICKSTART = Path(__file__).resolve().parents[2] / "experiments" / "quickstart.gin"
SMALL = (
    "backends.tiny_qwen2_5_vl.weights = 'random'",
    "train.prompts_per_step = 8",
    "train.steps = 3",
    "train.evaluate_every = None",
    "train.capabilities = []",
    "rollout.group_size = 2",
    "rollout.max_new_tokens = 8",
    "rewards.workers = 1",
)


@pytest.fixture
def small() -> Callable[..., LoadedConfig]:
    """The quick start, shrunk to seconds and with random weights; more bindings win."""

    def load(*bindings: str, file: Path = QUICKSTART, plugins: Iterable[Path] = ()) -> LoadedConfig:
        return load_config(file, [*SMALL, *bindings], plugins, allow_unused=True)  # `bindings` may leave some of SMALL

    return load


@pytest.fixture(scope="session")
def small_bindings() -> list[str]:
    """What shrinks the quick start, for tests that start processes of their own."""
    return list(SMALL)
