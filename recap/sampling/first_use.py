"""How a model decodes, settled on all processes before any of them samples.

A process may come to its first rollout without a prompt, so that the processes cannot agree there: those that wait for it
would wait for ever. They agree before, each on the same few prompts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from recap.data.prompts import Prompt, ask
from recap.model.decoding import decoding_way, settle_decoding
from recap.sampling.stand_in import stand_in
from registry.backends.base import EncodedPrompts, LoadedModel
from registry.example import MalformedExample
from registry.replay.base import ReplaySource

logger = logging.getLogger(__name__)

PROMPTS = 4  # at most, in the comparison: it shall take no more memory than a rollout
TRIES = 16  # first examples of a source, of which one shall be usable


class Asked(Protocol):
    """A domain or a capability, as far as it is asked."""

    @property
    def source(self) -> ReplaySource: ...

    @property
    def prompt(self) -> str: ...


def settle_before_sampling(
    loaded: LoadedModel, asked: Sequence[Asked], device: torch.device, agree: Callable[[bool], bool]
) -> None:
    """Settles how the model decodes, unless that is known; to be called on all processes together.

    Args:
        asked: what will be sampled for; the first prompts of the first of them are compared.
        agree: whether something holds on all processes.
    """
    if decoding_way(loaded.model) is not None:
        return
    was_training = loaded.model.training
    loaded.model.eval()
    try:
        settle_decoding(loaded, first_prompts(loaded, asked, device), agree)
    finally:
        loaded.model.train(was_training)


def first_prompts(loaded: LoadedModel, asked: Sequence[Asked], device: torch.device) -> EncodedPrompts:
    """The first prompt of each, the same on every process; where there is none that can be read, one that stands in."""
    found = [prompt for part in asked[:PROMPTS] if (prompt := _first_prompt(loaded, part, device)) is not None]
    if not found:
        example = stand_in(picture=loaded.sees_images)
        found = [Prompt(example, example.question)]
    return loaded.encode([prompt.text for prompt in found], [prompt.example for prompt in found], device)


def _first_prompt(loaded: LoadedModel, part: Asked, device: torch.device) -> Prompt | None:
    for position in range(TRIES):
        try:
            prompt = ask(part.prompt, part.source.example(position))
        except MalformedExample:
            continue
        try:
            loaded.encode([prompt.text], [prompt.example], device)
        except Exception as error:  # of whatever kind a processor raises; the draw will say it, where it is drawn
            logger.debug("example %r cannot be read: %s", prompt.example.id, error)
            continue
        return prompt
    return None
