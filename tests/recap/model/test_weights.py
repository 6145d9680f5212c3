"""Whole weights under plain names, with the adapter merged, and a model that does not notice."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from recap.model.adapters import LoRA, adapted_layers, adapter_disabled
from recap.model.weights import whole_parameters
from registry.backends.base import LoadedModel

IDS = torch.arange(2, 20)[None]


@pytest.fixture
def adapted(random_tiny: LoadedModel) -> nn.Module:
    """The tiny model with an adapter that has moved away from the base."""
    pytest.importorskip("peft", reason='pip install "recap-rlvr[lora]"')
    model = copy.deepcopy(random_tiny.model)
    LoRA(rank=4, alpha=8).attach(model, seed=0)
    generator = torch.Generator().manual_seed(5)
    for layer in adapted_layers(model).values():
        weight = layer.lora_B["default"].weight
        weight.data = 0.1 * torch.randn(weight.shape, generator=generator)
    return model


def test_without_an_adapter_they_are_the_models_own(random_tiny: LoadedModel) -> None:
    model = random_tiny.model
    found = dict(whole_parameters(model))
    assert list(found) == [name for name in model.state_dict() if name != "lm_head.weight"]  # the embedding, once more
    for name, tensor in found.items():
        assert tensor.data_ptr() == model.get_parameter(name).data_ptr(), "nothing is copied that need not be"
        assert not tensor.requires_grad


def test_merged_they_make_a_plain_model_of_the_adapted_one(random_tiny: LoadedModel, adapted: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in adapted.state_dict().items()}
    found = dict(whole_parameters(adapted))
    assert list(found) == list(dict(whole_parameters(random_tiny.model)))
    assert not any(tensor.requires_grad for tensor in found.values())
    plain = copy.deepcopy(random_tiny.model)
    missing, unexpected = plain.load_state_dict(found, strict=False)
    assert missing == ["lm_head.weight"]
    assert not unexpected
    with torch.no_grad():
        expected, base = adapted(input_ids=IDS).logits, random_tiny.model(input_ids=IDS).logits
        torch.testing.assert_close(plain(input_ids=IDS).logits, expected, atol=1e-5, rtol=0)
    assert (expected - base).abs().max() > 0.1
    assert all(torch.equal(before[name], tensor) for name, tensor in adapted.state_dict().items())
    with adapter_disabled(adapted):
        again = dict(whole_parameters(adapted))
    assert all(torch.equal(found[name], again[name]) for name in found)


def test_a_bfloat16_weight_is_rounded_once(random_tiny: LoadedModel) -> None:
    pytest.importorskip("peft", reason='pip install "recap-rlvr[lora]"')
    model = copy.deepcopy(random_tiny.model).to(torch.bfloat16)
    LoRA(rank=4, alpha=12, target_modules=["q_proj"]).attach(model, seed=0)
    name = "model.language_model.layers.1.self_attn.q_proj"
    layer = adapted_layers(model)[name]
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    b.data = torch.randn(b.shape, generator=torch.Generator().manual_seed(5))
    found = dict(whole_parameters(model))[f"{name}.weight"]
    exact = layer.base_layer.weight.double() + 3 * b.double() @ a.double()
    assert found.dtype == torch.bfloat16
    assert (found.double() - exact).abs().max() <= exact.abs().max() * 2**-8


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """A process group of one: sharding at its smallest."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_sharded_weights_come_whole(adapted: nn.Module) -> None:
    """As FSDP2 shards them, layer by layer."""
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    expected = dict(whole_parameters(adapted))
    sharded = copy.deepcopy(adapted)
    mesh = distributed.device_mesh.init_device_mesh("cpu", (1,))
    for layer in sharded.model.language_model.layers:  # type: ignore[union-attr]
        fsdp.fully_shard(layer, mesh=mesh)
    fsdp.fully_shard(sharded, mesh=mesh)
    assert any(isinstance(p, distributed.tensor.DTensor) for p in sharded.parameters())
    found = dict(whole_parameters(sharded))
    assert list(found) == list(expected)
    for name, tensor in found.items():
        assert not isinstance(tensor, distributed.tensor.DTensor), name
        assert torch.equal(tensor, expected[name]), name
