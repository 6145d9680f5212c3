"""Sending weights: in buckets, and over NCCL with a stand-in for TRL's client."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from recap.model.weights import whole_parameters
from recap.sampling.generators import GeneratorError, VLLMServer
from recap.sampling.generators.http import JsonServer
from recap.sampling.generators.transfer import NCCLTransfer, buckets
from registry.backends.base import LoadedModel

SERVER = JsonServer("http://127.0.0.1:8000", 1.0, "vllm_server.url")


def test_buckets_keep_order_and_size() -> None:
    parameters = [(str(i), torch.zeros(i)) for i in range(1, 6)]  # 4, 8, 12, 16, 20 bytes
    assert [[name for name, _ in bucket] for bucket in buckets(parameters, 20)] == [["1", "2", "3"], ["4", "5"]]
    assert list(buckets([], 20)) == []


def test_tied_weights_come_once(trained: LoadedModel) -> None:
    found = dict(whole_parameters(trained.model))
    assert "lm_head.weight" not in found  # the embedding's
    assert set(trained.model.state_dict()) - set(found) == {"lm_head.weight"}
    assert not any(tensor.requires_grad for tensor in found.values())


def test_files_that_cannot_be_written_are_one_readable_error(
    trained: LoadedModel, generator: VLLMServer, tmp_path: Path
) -> None:
    """As on a full disk, which safetensors has an error of its own for; nothing stays there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(
            GeneratorError, match=r"vllm_server\.weights_directory: cannot write weights: .*File too large"
        ):
            generator.sync(whole_parameters(trained.model))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "weights").iterdir()) == []


class Client:
    """What is used of `trl.generation.vllm_client.VLLMClient`, whose own signatures the next test compares."""

    def __init__(self, base_url: str | None = None) -> None:
        self.base_url, self.received, self.updates = base_url, {}, 0

    def init_communicator(self, device: Any = 0) -> None:
        self.device = device

    @contextlib.contextmanager
    def weight_update(self) -> Iterator[None]:
        self.updates += 1
        yield

    def update_named_params(self, metadata: list[Any], named_params: Iterator[tuple[str, torch.Tensor]]) -> None:
        for (name, dtype, shape), (sent, tensor) in zip(metadata, named_params, strict=True):
            assert (name, dtype, shape) == (sent, "float32", list(tensor.shape))
            self.received[name] = tensor


def stand_in(monkeypatch: pytest.MonkeyPatch, client: type) -> None:
    module = ModuleType("trl.generation.vllm_client")
    module.VLLMClient = client  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trl.generation.vllm_client", module)


def test_nccl_streams_every_parameter_in_one_update(trained: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, Client)
    monkeypatch.setattr("recap.sampling.generators.transfer.BUCKET_BYTES", 10_000)
    transfer = NCCLTransfer(SERVER, torch.device("cpu"))
    transfer.send(whole_parameters(trained.model))
    assert transfer.client.base_url == SERVER.url
    assert transfer.client.updates == 1
    for name, parameter in trained.model.named_parameters():
        assert torch.equal(transfer.client.received[name], parameter)


def test_nccl_that_fails_is_one_readable_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Client):
        def init_communicator(self, device: Any = 0) -> None:
            raise RuntimeError("no weight-transfer engine")

    stand_in(monkeypatch, Broken)
    with pytest.raises(GeneratorError, match=r"vllm_server.url = 'http://127.0.0.1:8000'.*no weight-transfer engine"):
        NCCLTransfer(SERVER, torch.device("cpu"))


def test_the_stand_in_has_the_signatures_of_trls_client() -> None:
    import inspect

    client = pytest.importorskip("trl.generation.vllm_client").VLLMClient
    for method in ("init_communicator", "weight_update", "update_named_params"):
        theirs = list(inspect.signature(getattr(client, method)).parameters)
        assert list(inspect.signature(getattr(Client, method)).parameters) == theirs
    assert "base_url" in inspect.signature(client).parameters
