"""Exports: what was trained, as directories that other programs load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator
from safetensors.torch import save_file
from transformers import PreTrainedModel

from recap.experiment.experiment import Experiment
from recap.learning.models import Models
from recap.learning.trainer import accelerator_of
from recap.model.adapters import ADAPTER_NAME, adapted_layers, has_adapter
from recap.model.weights import whole, whole_parameters
from recap.runs.checkpoint import latest_checkpoint, load_weights
from registry.backends.base import LoadedModel


def export_model(loaded: LoadedModel, directory: Path, accelerator: Accelerator) -> None:
    """Writes model and processor as a plain directory that `from_pretrained` loads, an adapter merged into the weights.

    Every process must call it: weights that are sharded are gathered one by one. The main process writes.
    """
    kept = {}
    for name, tensor in whole_parameters(loaded.model):
        if accelerator.is_main_process:
            kept[name] = tensor.cpu()
    if accelerator.is_main_process:
        with _as_if_plain(loaded.model):
            loaded.model.save_pretrained(directory, state_dict=kept)
        loaded.processor.save_pretrained(directory)
    accelerator.wait_for_everyone()


def export_adapter(loaded: LoadedModel, directory: Path, accelerator: Accelerator) -> None:
    """Writes the adapter alone, in peft's format; its `adapter_config.json` names the base as transformers loaded it.

    `PeftModel.from_pretrained(base, directory)` and transformers' `base.load_adapter(directory)` read it. Every process
    must call it, as `export_model`.
    """
    from peft import get_peft_model_state_dict

    layers = adapted_layers(loaded.model)
    kept = {}
    for name, tensor in loaded.model.state_dict().items():
        if name.partition(".lora_")[0] in layers and ".lora_" in name:
            kept[name] = whole(tensor).cpu().contiguous()
    if accelerator.is_main_process:
        directory.mkdir(parents=True, exist_ok=True)
        # Embeddings are never part of it; left to itself, peft would ask the Hub whether they were resized.
        state = get_peft_model_state_dict(loaded.model, kept, ADAPTER_NAME, save_embedding_layers=False)
        state = {f"base_model.model.{name}": tensor for name, tensor in state.items()}
        save_file(state, directory / "adapter_model.safetensors", metadata={"format": "pt"})
        loaded.model.peft_config[ADAPTER_NAME].save_pretrained(str(directory))
    accelerator.wait_for_everyone()


def export_run(experiment: Experiment, loaded: LoadedModel, run: Path, accelerator: Accelerator) -> None:
    """What a run leaves behind: RUN/model and RUN/adapter, as the experiment has it."""
    wanted = ("merged",) if experiment.adapter is None else experiment.adapter.export
    if "merged" in wanted:
        export_model(loaded, run / "model", accelerator)
    if "adapter" in wanted:
        export_adapter(loaded, run / "adapter", accelerator)


def export_checkpoint(experiment: Experiment, checkpoint: Path, directory: Path, *, adapter_alone: bool) -> None:
    """Writes the model of a checkpoint, or its adapter alone, to `directory`; needs neither the data nor the generator.

    Args:
        experiment: of the run that the checkpoint is from.
        checkpoint: or a run directory, whose newest is taken.

    Raises:
        ValueError: there is no checkpoint, or no adapter to write alone.
    """
    if adapter_alone and experiment.adapter is None:
        raise ValueError("--adapter: the experiment has no adapter (train.adapter is None); leave the option out")
    found = latest_checkpoint(checkpoint)
    if found is None:
        raise ValueError(f"no complete checkpoint under {str(checkpoint)!r}")
    # Sharded or not, the checkpoint is read as it was written; who samples, and what is drawn from, is not needed.
    alone = replace(experiment, rollout=replace(experiment.rollout, generator=None), drift=None)
    models = Models(alone, accelerator_of(alone))
    load_weights(models, found)
    write = export_adapter if adapter_alone else export_model
    write(models.loaded, directory, models.accelerator)


@contextmanager
def _as_if_plain(model: PreTrainedModel) -> Iterator[None]:
    """`save_pretrained` writes what it is given: of a model with an adapter it writes the adapter, and has no other way."""
    if not has_adapter(model):
        yield
        return
    model._hf_peft_config_loaded = False
    try:
        yield
    finally:
        model._hf_peft_config_loaded = True
