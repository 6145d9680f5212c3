"""Activation checkpointing: backward computes the layers again, so that the forward need not keep what is inside them."""

from __future__ import annotations

from transformers import PreTrainedModel


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Makes a model in training keep the inputs of its layers only, those of its vision tower included; in place.

    The layers are those that transformers declares (`GradientCheckpointingLayer`). In eval mode, in which completions are
    sampled, nothing changes. While training, a layer that is checkpointed ignores a cache of keys and values (transformers
    sets it to None, with a warning only): no forward of the loss may go behind one.

    Raises:
        ValueError: the model's class has no such layers.
    """
    if not model.supports_gradient_checkpointing:
        raise ValueError(
            f"{type(model).__name__} does not support activation checkpointing: set train.activation_checkpointing = False"
        )
    # Renamed in transformers 5.2x; the old name warns there. Not the reentrant kind: it needs an input with a gradient, which
    # the layers of a frozen embedding or of pixels do not have.
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable({"use_reentrant": False})
    # What transformers adds for the reentrant kind would make frozen embeddings carry a gradient for nothing.
    model.disable_input_require_grads()
