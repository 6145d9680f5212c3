"""In which precision things are computed and held, under bf16 and without."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from recap.experiment.config import LoadedConfig
from recap.experiment.layout import Layout, notes
from recap.learning.trainer import Trainer
from recap.runs.run import Run
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL

Small = Callable[..., LoadedConfig]
BF16 = "train.mixed_precision = 'bf16'"
LORA = ("train.adapter = @lora()", "lora.rank = 4")
CAPABILITIES = ("train.capabilities = [@grounding/Capability(), @arithmetic/Capability()]", "Capability.examples = 4")


@pytest.fixture(autouse=True)
def _other_precision() -> Iterator[None]:
    """Accelerate keeps the first precision of a process and refuses another."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.parametrize("adapter", [(), LORA], ids=["full", "lora"])
def test_every_forward_of_a_bf16_run_is_bf16(small: Small, tmp_path: Path, adapter: tuple[str, ...]) -> None:
    """Rollout, loss, reference and evaluation, comparisons at first use included."""
    if adapter:
        pytest.importorskip("peft")
    config = small(BF16, *CAPABILITIES, *adapter, "grpo.kl_coefficient = 0.1", "train.steps = 2")
    run = Run(config.experiment, tmp_path / "run", operative_config=config.operative)
    seen: Counter[tuple[str, torch.dtype]] = Counter()

    def watch(owner: str, model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.Linear) and not hasattr(module, "base_layer"):
                module.register_forward_hook(lambda m, args, out: seen.update([(owner, out.dtype)]))

    watch("model", run.trainer.loaded.model)
    if run.trainer.models.reference is not None:
        watch("reference", run.trainer.models.reference.model)
    run.execute()
    assert {dtype for _, dtype in seen} == {torch.bfloat16}
    assert {owner for owner, _ in seen} == ({"model"} if adapter else {"model", "reference"})


class Casts(TorchDispatchMode):
    """Counts the weights that are cast to bf16, by size: activations of a decode step are smaller than any weight."""

    def __init__(self, at_least: int) -> None:
        super().__init__()
        self.at_least, self.count = at_least, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten._to_copy.default and (kwargs or {}).get("dtype") is torch.bfloat16:
            self.count += args[0].dtype == torch.float32 and args[0].dim() == 2 and args[0].numel() >= self.at_least
        return function(*args, **(kwargs or {}))


def test_a_frozen_base_is_not_cast_at_every_token(small: Small) -> None:
    pytest.importorskip("peft")
    trainer = Trainer(small(BF16, *LORA).experiment)
    model = trainer.loaded.model
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    base = [m for m in model.get_decoder().modules() if type(m) is nn.Linear and not m.weight.requires_grad]
    smallest = min(m.weight.numel() for m in base)
    adapters = sum(p.numel() >= smallest for p in model.parameters() if p.requires_grad)
    ids = torch.tensor([[30, 31, 32]])
    with torch.no_grad(), trainer.accelerator.autocast(), Casts(smallest) as casts:
        model(input_ids=ids)
    assert casts.count <= adapters
    assert all(buffer.dtype == torch.float32 for buffer in model.buffers() if buffer.is_floating_point())


def test_a_reference_is_held_in_the_precision_of_the_arithmetic(small: Small) -> None:
    trainer = Trainer(small(BF16, "grpo.kl_coefficient = 0.1").experiment)
    assert trainer.models.reference is not None
    assert {p.dtype for p in trainer.models.reference.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in trainer.models.scorer.parameters()} == {torch.float32}
    with trainer.experiment.rewards:
        assert trainer.step().metrics["kl"] == pytest.approx(0, abs=1e-2)


def published(directory: Path) -> Path:
    """A checkpoint as they are published: in bf16."""
    torch.manual_seed(0)
    loaded = TinyQwen2_5_VL(weights="random").load()
    loaded.model.to(torch.bfloat16).save_pretrained(directory)
    loaded.processor.save_pretrained(directory)
    assert "bfloat16" in json.dumps(json.loads((directory / "config.json").read_text()))
    return directory


def test_small_updates_of_a_published_model_are_kept(small: Small, tmp_path: Path) -> None:
    bindings = ("train.model = @backends.huggingface()", f"backends.huggingface.path = {str(published(tmp_path))!r}")
    trainer = Trainer(small(*bindings, BF16, "adamw.learning_rate = 1e-6", "adamw.warmup_fraction = 0.0").experiment)
    parameters = trainer.models.trained_parameters
    before = [p.detach().clone() for p in parameters]
    reached = [torch.zeros_like(p, dtype=torch.bool) for p in parameters]
    step = trainer.models.optimizer.step

    def noted() -> None:
        for seen, parameter in zip(reached, parameters, strict=True):
            seen |= parameter.grad.abs() > 1e-8
        step()

    trainer.models.optimizer.step = noted
    with trainer.experiment.rewards:
        trainer.step()
        trainer.step()
    moved = [(p != old)[seen] for p, old, seen in zip(parameters, before, reached, strict=True)]
    assert torch.cat(moved).float().mean() > 0.98


def test_weights_that_would_not_learn_are_noted(small: Small, tmp_path: Path) -> None:
    path = f"backends.huggingface.path = {str(published(tmp_path))!r}"
    auto = ("train.model = @backends.huggingface()", path, "backends.huggingface.dtype = 'auto'")
    said = "the weights that are trained are bfloat16"
    assert any(said in note for note in notes(small(*auto).experiment, Layout()))
    assert not any(said in note for note in notes(small(*auto[:2]).experiment, Layout()))
    assert not any(said in note for note in notes(small(*auto, *LORA).experiment, Layout()))
    assert any(said in note for note in notes(small().experiment, Layout(), "bfloat16"))


def test_a_run_with_an_adapter_exports_its_base_and_goes_on(small: Small, tmp_path: Path) -> None:
    """Base and merged model in bf16, the adapter in float32; a checkpoint without the base restores the same model."""
    pytest.importorskip("peft")
    config = small(BF16, *LORA, "train.steps = 2", "checkpoints.every = 1", "adamw.learning_rate = 1e-2")
    run = Run(config.experiment, tmp_path / "run", operative_config=config.operative)
    run.execute()
    merged = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in merged.values()} == {torch.bfloat16}
    adapter = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in adapter.values()} == {torch.float32}
    assert any(bool(tensor.any()) for name, tensor in adapter.items() if "lora_B" in name)

    again = Run(config.experiment, tmp_path / "run", operative_config=config.operative, resume=tmp_path / "run")
    for name, tensor in run.trainer.loaded.model.state_dict().items():
        assert torch.equal(tensor, again.trainer.loaded.model.state_dict()[name]), name


def test_full_precision_is_left_alone(small: Small) -> None:
    pytest.importorskip("peft")
    torch.manual_seed(0)  # train.seed
    loaded = small(*LORA).experiment.load_model().model.state_dict()
    trained = Trainer(small(*LORA).experiment).loaded.model.state_dict()
    for name, tensor in loaded.items():
        assert tensor.dtype == trained[name].dtype == torch.float32
        assert torch.equal(tensor, trained[name])
