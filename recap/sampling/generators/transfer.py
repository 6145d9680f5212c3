"""How weights reach a vLLM server: over NCCL, or through files that both sides see."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from recap.sampling.generators.base import GeneratorError
from recap.sampling.generators.http import JsonServer

BUCKET_BYTES = 1 << 30
"""Tensors that travel together: enough to be fast, little enough that gathered parameters never exist all at once."""


class WeightTransfer(Protocol):
    """One way of sending weights."""

    def send(self, parameters: Iterable[tuple[str, Tensor]]) -> None:
        """Raises GeneratorError: they did not arrive."""


class FileTransfer:
    """safetensors files in a folder that the server sees under the same path, loaded by vLLM's `reload_weights`.

    Needs neither vLLM nor a GPU here. On one machine the folder may lie in memory (/dev/shm); across machines it must be on
    a shared file system.

    Args:
        server: started with VLLM_SERVER_DEV_MODE=1, which opens `/collective_rpc`.
        directory: made where it does not exist; what is written there is removed again.
    """

    def __init__(self, server: JsonServer, directory: str) -> None:
        self.server = server
        self.directory = Path(directory).expanduser().resolve()
        self.sent = 0

    def send(self, parameters: Iterable[tuple[str, Tensor]]) -> None:
        # A new folder each time: vLLM has been seen to answer a known path from memory (vllm-project/vllm#32718).
        folder = self.directory / f"weights-{self.sent:06d}"
        self.sent += 1
        shutil.rmtree(folder, ignore_errors=True)
        try:
            self._write(parameters, folder)
            arguments = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
            self.server.post("/collective_rpc", arguments)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _write(self, parameters: Iterable[tuple[str, Tensor]], folder: Path) -> None:
        try:
            folder.mkdir(parents=True)
            for number, bucket in enumerate(buckets(parameters)):
                save_file(_apart(bucket), folder / f"model-{number:05d}.safetensors")
        except (OSError, SafetensorError) as error:  # a full disk is no OSError to safetensors
            raise GeneratorError(f"vllm_server.weights_directory: cannot write weights: {error}") from error


class NCCLTransfer:
    """vLLM's own NCCL engine, driven by TRL's client, which knows the differences between vLLM's versions.

    Never run here: it needs vLLM and two GPUs.

    Args:
        server: started with `--weight-transfer-config '{"backend": "nccl"}'`.
        device: of the main training process.
    """

    def __init__(self, server: JsonServer, device: torch.device) -> None:
        self.where = server.where
        try:
            from trl.generation.vllm_client import VLLMClient

            self.client: Any = VLLMClient(base_url=server.url)
            self.client.init_communicator(device=device)
        except Exception as error:  # of three libraries
            raise GeneratorError(f"{self.where}: no way to send weights: {type(error).__name__}: {error}") from error

    def send(self, parameters: Iterable[tuple[str, Tensor]]) -> None:
        try:
            with self.client.weight_update():
                for bucket in buckets(parameters):
                    described = [(name, str(t.dtype).removeprefix("torch."), list(t.shape)) for name, t in bucket]
                    self.client.update_named_params(described, iter(bucket))
        except Exception as error:  # of three libraries
            raise GeneratorError(f"{self.where}: sending weights failed: {type(error).__name__}: {error}") from error


def _apart(bucket: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """As safetensors takes them: on the CPU, in one piece each, none in the memory of another (as tied ones are)."""
    tensors: dict[str, Tensor] = {}
    memory: set[int] = set()
    for name, tensor in bucket:
        own = tensor.cpu().contiguous()
        tensors[name] = own.clone() if own.data_ptr() in memory else own
        memory.add(own.data_ptr())
    return tensors


def buckets(parameters: Iterable[tuple[str, Tensor]], size: int | None = None) -> Iterator[list[tuple[str, Tensor]]]:
    """The parameters in order, in lists of about `size` bytes; None: `BUCKET_BYTES`."""
    size = BUCKET_BYTES if size is None else size
    bucket: list[tuple[str, Tensor]] = []
    total = 0
    for name, tensor in parameters:
        bucket.append((name, tensor))
        total += tensor.numel() * tensor.element_size()
        if total >= size:
            yield bucket
            bucket, total = [], 0
    if bucket:
        yield bucket
