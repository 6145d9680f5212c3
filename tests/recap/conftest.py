"""Small stand-ins that the engine's tests share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gin
import pytest
import torch

from recap.evaluation.outcomes import Outcome
from recap.experiment.config import LoadedConfig, load_config
from registry.backends.base import LoadedModel
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL


@pytest.fixture(autouse=True)
def _clean_gin() -> Iterator[None]:
    """gin's configuration is global; every test starts and ends without one."""
    gin.clear_config()
    yield
    gin.clear_config()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store without runs: to make one takes two seconds of migrations, to copy it none."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture(autouse=True)
def _local_tracking(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if {"small", "small_bindings"} & set(request.fixturenames):  # it may start a run
        shutil.copyfile(request.getfixturevalue("empty_store"), tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")  # tests compare all that a run logs
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)


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
    "drift.prompts = 2",
    "drift.max_new_tokens = 4",
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


@pytest.fixture(scope="session")
def outcome() -> Callable[..., Outcome]:
    """What came of one example, by its position; named values win."""

    def make(position: int = 0, score: float | None = 1.0, **values: Any) -> Outcome:
        plain = {
            "example": f"test/{position}",
            "position": position,
            "digest": f"d{position}",
            "cluster": f"d{position}",
            "sample": 0,
            "score": score,
            "lenient": score,
            "formatted": True,
            "completion": "<answer>1</answer>",
            "tokens": 4,
            "truncated": False,
            "chance": 0.0,
            "question": f"question {position}?",
            "reference": "1",
        }
        return Outcome(**{**plain, **values})

    return make
