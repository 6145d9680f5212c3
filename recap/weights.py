"""The weights of the model in training, whole and by name, for a generator that holds a copy of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor, nn

from recap.generation.base import Generator

if TYPE_CHECKING:
    from accelerate import Accelerator


def whole_parameters(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name and whole tensor of every parameter of an unwrapped model, detached; tied weights come once.

    Every process must use it up, so that parameters which are spread over processes can be gathered here.
    """
    for name, parameter in model.named_parameters():
        yield name, parameter.detach()


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
