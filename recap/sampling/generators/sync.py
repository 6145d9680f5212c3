"""How a generator's weights are made those of the model in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from recap.model.weights import whole_parameters
from recap.sampling.generators.base import Generator

if TYPE_CHECKING:
    from accelerate import Accelerator


def send_weights(generator: Generator, model: nn.Module, accelerator: Accelerator) -> None:
    """Gives a generator the weights of the model; called by every process. None samples in the meantime.

    Raises:
        GeneratorError: they did not arrive.
    """
    accelerator.wait_for_everyone()
    parameters = whole_parameters(model)
    if generator.syncs_on_every_process or accelerator.is_main_process:
        generator.sync(parameters)
    for _ in parameters:  # a process that sends nothing still takes part in gathering
        pass
    accelerator.wait_for_everyone()
