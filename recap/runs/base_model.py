"""The model that training began with, for as long as it is measured against."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
from accelerate.utils.memory import clear_device_cache

from recap.evaluation.drift import AsModel
from recap.learning.models import Models
from recap.model.adapters import adapter_disabled
from recap.model.weights import fingerprint
from registry.backends.base import LoadedModel


class NoBase(ValueError):
    """The base model cannot be had any more."""


@contextmanager
def base_model(models: Models) -> Iterator[AsModel]:
    """The base, the cheapest way: the model without its adapter; the reference of a KL term; or its weights loaded again.

    Loaded again they are held as the trained ones are, parameter by parameter, so that the arithmetic is the same, and given
    back at the end.

    Raises:
        NoBase: the backend does not give those weights again.
    """
    loaded, experiment = models.loaded, models.experiment
    if experiment.adapter is not None:

        @contextmanager
        def without_adapter() -> Iterator[LoadedModel]:
            with adapter_disabled(loaded.model):
                yield loaded

        yield without_adapter
    elif models.reference is not None:
        reference = replace(loaded, model=models.reference.model)
        yield lambda: nullcontext(reference)
    else:
        found = _load_again(models)
        try:
            yield lambda: nullcontext(found)
        finally:
            found.model.to("meta")  # whoever still holds it holds no weights
            clear_device_cache()


def _load_again(models: Models) -> LoadedModel:
    device = models.accelerator.device
    try:
        with torch.random.fork_rng(devices=[]):
            base = models.experiment.model.load()
    except (OSError, ValueError, ImportError) as error:
        raise NoBase(f"the base model cannot be loaded again: {error}") from error
    if fingerprint(base.model) != models.base_fingerprint:
        raise NoBase("the base model that the backend loads now has other weights than training began with")
    held = {name: parameter.dtype for name, parameter in models.loaded.model.named_parameters()}
    for name, parameter in base.model.named_parameters():
        parameter.requires_grad_(False)
        parameter.data = parameter.data.to(device=device, dtype=held[name])
    base.model.to(device).eval()  # buffers, in their precision
    return base
