"""What the fake server cannot show: vLLM itself takes over every weight, and the two engines' log-probs agree."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from recap.sampling.generators import GeneratorError, VLLMServer
from recap.sampling.generators.sync import WeightSync
from registry.backends.base import LoadedModel
from registry.backends.huggingface import HuggingFace
from tests.vllm.conftest import FOR_CPU, ROOT, Served, serving

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]
Train = Callable[..., list[list[dict[str, float]]]]
Through = Callable[[Served], list[str]]
KINDS = ("embed_tokens", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "norm")


@pytest.fixture
def loaded(checkpoint: Path) -> LoadedModel:
    return HuggingFace(str(checkpoint)).load()


@pytest.fixture
def sync(served: Served, tmp_path: Path) -> WeightSync:
    generator = VLLMServer(url=served.url, weights_directory=str(tmp_path / "weights"))
    generator.connect()
    return WeightSync(generator, Accelerator(cpu=True))


def move(loaded: LoadedModel, kind: str) -> None:
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in loaded.model.named_parameters():
            if kind in name:
                parameter.add_(2e-3 * torch.randn(parameter.shape, generator=random))


def test_every_kind_of_tensor_arrives(loaded: LoadedModel, sync: WeightSync) -> None:
    """The embedding also as the output head, which is tied to it."""
    sync(loaded)
    assert sync.difference < 1e-5
    for kind in KINDS:
        move(loaded, kind)
        sync(loaded)
        assert sync.difference < 5e-5, kind


def test_a_head_that_is_not_named_is_noticed(
    loaded: LoadedModel, sync: WeightSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why it is sent under its own name. Should vLLM come to do without, this fails and the name can go."""
    sync(loaded)
    monkeypatch.setattr(VLLMServer, "wants_every_name", False)
    move(loaded, "embed_tokens")
    with pytest.raises(GeneratorError, match="did not arrive as they are"):
        sync(loaded)


def test_five_updates_through_a_server(served: Served, train: Train, through: Through) -> None:
    (steps,) = train(through(served), 5)
    assert len(steps) == 5
    for metrics in steps:
        assert metrics["sampler_difference"] < 1e-4
        assert metrics["sync_difference"] < 1e-4
        assert metrics["sampler_ratio"] == pytest.approx(1, abs=1e-4)


def test_two_processes_through_a_server(served: Served, train: Train, through: Through) -> None:
    first, second = train(through(served), 2, processes=2)
    assert len(first) == 2
    for here, there in zip(first, second, strict=True):
        assert here["sampler_difference"] == there["sampler_difference"] < 1e-4
        assert here["sync_difference"] == there["sync_difference"] < 1e-4


def test_a_server_in_bf16_is_no_reason_to_stop(
    checkpoint: Path, tmp_path: Path, train: Train, through: Through
) -> None:
    """A model in training in fp32 and under bf16 autocast."""
    with serving(checkpoint, tmp_path, "bfloat16") as server:
        for precision in ("no", "bf16"):
            (steps,) = train([*through(server), f"train.mixed_precision = '{precision}'"], 4)
            assert all(0.01 < metrics["sync_difference"] < 0.15 for metrics in steps)
            assert all(metrics["sampler_difference"] < 0.3 for metrics in steps)


def test_a_server_killed_in_mid_run_is_one_readable_error(checkpoint: Path, tmp_path: Path, through: Through) -> None:
    with serving(checkpoint, tmp_path, "float32") as server:
        bindings = [*through(server), "train.steps = 50", "train.prompts_per_step = 4", "rewards.workers = 1"]
        flags = [part for binding in bindings for part in ("-b", binding)]
        output = str(tmp_path / "run")
        run = subprocess.Popen(
            [sys.executable, "-m", "recap", "train", "experiments/smollm2_arithmetic.gin", *flags, "--output", output],
            cwd=ROOT, env={**os.environ, **FOR_CPU, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        while server.log.read_text(errors="replace").count("POST /collective_rpc") < 3 and run.poll() is None:
            time.sleep(0.5)
        server.stop(signal.SIGKILL)
        said, _ = run.communicate()
    assert run.returncode not in (0, None)
    assert "is the server running there" in " ".join(said.split())
    assert server.url in said
    assert "Traceback" not in said


def test_five_updates_in_the_training_process(train: Train) -> None:
    """`vllm_colocated`, in fp32 and without compilation; weights are taken over layer by layer."""
    bindings: list[Any] = ["rollout.generator = @vllm_colocated()", "vllm_colocated.max_model_len = 512"]
    (steps,) = train([*bindings, "grpo.sampler_correction = 'token'"], 5, colocated=True)
    assert len(steps) == 5
    assert all(metrics["sampler_difference"] < 1e-4 for metrics in steps)
    assert all(metrics["sync_difference"] < 1e-4 for metrics in steps)
