"""Checkpoints of a model with an adapter: without the frozen weights, which the next start loads from the base again."""

from __future__ import annotations

from collections.abc import MutableSequence
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import SAFE_WEIGHTS_NAME
from safetensors.torch import load_file
from torch import Tensor, nn


def leave_frozen_out(accelerator: Accelerator) -> None:
    """Makes `save_state` and `load_state` of an accelerator pass over frozen parameters; call once, before either.

    Sharded models are not concerned: Accelerate writes those by other ways, whole.
    """

    def before_saving(models: list[nn.Module], weights: list[dict[str, Tensor]], directory: str) -> None:
        for model, state in zip(models, weights, strict=False):  # no weights where they are sharded
            for name in frozen_names(model):
                state.pop(name, None)

    def before_loading(models: MutableSequence[nn.Module], directory: str) -> None:
        for model in models:
            found = load_file(Path(directory) / SAFE_WEIGHTS_NAME)
            missing, unexpected = model.load_state_dict(found, strict=False)
            if wrong := {*unexpected, *missing} - frozen_names(model):
                raise ValueError(
                    f"{directory}: not a checkpoint of this model and adapter; they differ in {len(wrong)} weights,"
                    f" e.g. {min(wrong)!r}. Resume with the experiment that the run was started with"
                )
        models.clear()  # what is left would be loaded by Accelerate

    accelerator.register_save_state_pre_hook(before_saving)
    accelerator.register_load_state_pre_hook(before_loading)


def frozen_names(model: nn.Module) -> set[str]:
    """Names in `state_dict` of the parameters that are not trained, tied ones under each of their names."""
    named = model.named_parameters(remove_duplicate=False)
    return {name for name, parameter in named if not parameter.requires_grad}
