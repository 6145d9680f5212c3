"""vLLM itself, serving SmolLM2-135M on the CPU: see `make test-vllm`."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from registry.backends.smollm2 import SmolLM2

ROOT = Path(__file__).resolve().parents[2]
FOR_CPU = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass
class Served:
    """A server that answers.

    Attributes:
        log: what it says.
    """

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """With the processes that it has started, whose group it leads."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.stop(signal.SIGKILL)


def end_with_the_tests() -> None:
    """In a child: it is told to stop when whoever started it is gone, be it killed (Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


@contextmanager
def serving(model: Path, folder: Path, dtype: str) -> Iterator[Served]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--dtype",
        dtype,
        "--enforce-eager",
        "--max-model-len",
        "512",
    ]
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(model), *settings]
    log = folder / f"server-{port}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--logprobs-mode", "processed_logprobs"],
            env={**os.environ, **FOR_CPU, "VLLM_SERVER_DEV_MODE": "1"},
            stdout=stream, stderr=stream, start_new_session=True, preexec_fn=end_with_the_tests,
        )  # fmt: skip
    served = Served(f"http://127.0.0.1:{port}", log, process)
    try:
        while True:  # the test's own time limit ends this
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            with suppress(OSError):
                urllib.request.urlopen(f"{served.url}/health", timeout=5)
                break
            time.sleep(1)
        yield served
    finally:
        served.stop()


@pytest.fixture(scope="session", autouse=True)
def _vllm() -> None:
    try:
        version = metadata.version("vllm")
    except metadata.PackageNotFoundError:
        version = ""
    if not version.endswith("+cpu"):
        pytest.skip("vLLM for CPUs is not installed: make test-vllm")


@pytest.fixture(autouse=True)
def _local_tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture(scope="session")
def checkpoint(_vllm: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M as a directory that vLLM can load."""
    folder = tmp_path_factory.mktemp("smollm2")
    loaded = SmolLM2().load()
    loaded.model.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def served(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """In fp32. Its weights are those of whichever test sent some last."""
    with serving(checkpoint, tmp_path_factory.mktemp("server"), "float32") as found:
        yield found


STEPS = """
import functools, json, pathlib, sys
bindings, steps, colocated, folder = json.loads(sys.argv[1])
if colocated:
    import vllm
    vllm.LLM = functools.partial(vllm.LLM, enforce_eager=True, dtype="float32")
from recap.experiment.config import load_config
from recap.learning.trainer import Trainer
trainer = Trainer(load_config("experiments/smollm2_arithmetic.gin", bindings).experiment)
with trainer.experiment.rewards:
    for _ in range(steps):
        result = trainer.step()
        assert result.updated
        with (pathlib.Path(folder) / f"steps-{trainer.accelerator.process_index}").open("a") as file:
            print(json.dumps(result.metrics), file=file)
"""


@pytest.fixture
def train(tmp_path: Path, checkpoint: Path) -> Callable[..., list[list[dict[str, float]]]]:
    """Trains SmolLM2 to add in a process of its own, or two; the metrics of each step, by process."""

    def run(
        bindings: list[str], steps: int, *, processes: int = 1, colocated: bool = False
    ) -> list[list[dict[str, float]]]:
        script = tmp_path / "steps.py"
        script.write_text(STEPS)
        model = ["train.model = @backends.huggingface()", f"backends.huggingface.path = '{checkpoint}'"]
        small = ["train.prompts_per_step = 4", "rollout.max_new_tokens = 16", "rewards.workers = 1"]
        small.append(
            "grpo.skip_zero_advantage = False"
        )  # it earns nothing yet; its log-probs are compared all the same
        launch = (
            [] if processes == 1 else ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        )
        # A file for each process: on stdout their lines run into one another.
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        given = json.dumps([[*model, *small, *bindings], steps, colocated, str(folder)])
        environment = {**os.environ, **FOR_CPU, "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, *launch, str(script), given], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-5000:]
        texts = [(folder / f"steps-{rank}").read_text() for rank in range(processes)]
        return [[json.loads(line) for line in text.splitlines()] for text in texts]

    return run


@pytest.fixture
def through(tmp_path: Path) -> Callable[[Served], list[str]]:
    """Bindings with which an experiment samples through a server."""

    def bindings(served: Served) -> list[str]:
        return [
            "rollout.generator = @vllm_server()",
            f"vllm_server.url = '{served.url}'",
            f"vllm_server.weights_directory = '{tmp_path / 'weights'}'",
            "grpo.sampler_correction = 'token'",
        ]

    return bindings
