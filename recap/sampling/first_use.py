"""How a model decodes, settled on all processes before any of them samples.

A process may come to its first rollout without a prompt, so that the processes cannot agree there: those that wait for it
would wait for ever. They agree before, each on the same few prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from recap.data.encoding import Room, encode_prompts
from recap.data.prompts import Asks, Prompt
from recap.model.decoding import decoding_way, settle_decoding
from recap.sampling.stand_in import stand_in
from registry.backends.base import CannotSee, EncodedPrompts, LoadedModel
from registry.example import MalformedExample
from registry.replay.base import ReplaySource

PROMPTS = 4  # at most, in the comparison: it shall take no more memory than a rollout
TRIES = 16  # first examples of a source, of which one shall be usable


class Asked(Asks, Protocol):
    """A domain or a capability, as far as it is asked."""

    @property
    def source(self) -> ReplaySource: ...


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
    found = [prompt for part in asked[:PROMPTS] if (prompt := _first_prompt(loaded, part)) is not None]
    if not found:
        example = stand_in(picture=loaded.sees_images)
        found = [Prompt(example, example.question)]
    return loaded.encode([prompt.chat for prompt in found], [prompt.example for prompt in found], device)


def _first_prompt(loaded: LoadedModel, part: Asked) -> Prompt | None:
    for position in range(TRIES):
        try:
            prompt = part.ask(part.source.example(position))
            found = encode_prompts(loaded, [part], [prompt], [Room(loaded.context_length, 0)])
        except (MalformedExample, CannotSee):
            continue  # the draw will say it, where it is drawn
        if found.prompts:
            return found.prompts[0]
    return None
