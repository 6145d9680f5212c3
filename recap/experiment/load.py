"""What a process has in hand at a time, by the recipe alone: prompts, completions and pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from recap.experiment.experiment import Experiment
from recap.experiment.layout import Layout

PROMPT_TEXT = 256
"""Tokens of a prompt besides its picture; assumed, as no data set is read."""
IMITATED = 512
"""Tokens of a target that is imitated; assumed."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a process has in hand at a time.

    Attributes:
        prompts: of one micro-batch.
        decoded: of those that are decoded together, all micro-batches or a part of them.
        group_size: completions of each prompt.
        prompt_length: tokens, those of pictures included.
        completion_length: tokens.
        patches: of all pictures of a micro-batch, as the vision tower sees them.
    """

    prompts: int
    decoded: int
    group_size: int
    prompt_length: int
    completion_length: int
    patches: int = 0

    def bounded(self, max_tokens: int | None) -> Load:
        """Its largest part of no more than `max_tokens`, halved as `recap.learning.microbatch.cut` does."""
        if max_tokens is None or self.prompts * (self.prompt_length + self.spoken) <= max_tokens:
            return self
        if self.prompts > 1:
            half = -(-self.prompts // 2)
            patches = self.patches * half // self.prompts
            return replace(self, prompts=half, patches=patches).bounded(max_tokens)
        if self.group_size > 1:
            return replace(self, group_size=-(-self.group_size // 2)).bounded(max_tokens)
        return self

    @property
    def spoken(self) -> int:
        """Tokens of a group's completions."""
        return self.group_size * self.completion_length


def expected_load(experiment: Experiment, layout: Layout, config: Any) -> Load:
    """The most that a micro-batch holds: all of its completions at full length, a picture in every prompt where the model sees.

    Of the data nothing is known: a prompt is taken to have `PROMPT_TEXT` tokens of text, a target that is imitated
    `IMITATED`, and a picture the size of `max_pixels`.
    """
    held = -(-experiment.prompts_per_step // layout.processes)
    prompts = -(-held // experiment.accumulation_steps)
    patches, tokens = picture(config, getattr(experiment.model, "max_pixels", None))
    reinforced = any(domain.verifiers for domain in experiment.domains)
    sampling = experiment.rollout
    return Load(
        prompts=prompts,
        decoded=min(held, sampling.batch_size or held) if reinforced else 0,
        group_size=sampling.group_size if reinforced else 1,
        prompt_length=PROMPT_TEXT + tokens,
        completion_length=sampling.max_new_tokens if reinforced else IMITATED,
        patches=prompts * patches,
    )


def picture(config: Any, max_pixels: int | None) -> tuple[int, int]:
    """Patches of a picture in the vision tower, and its tokens in the language model; (0, 0) of a model that does not see."""
    vision = getattr(config, "vision_config", None)
    if vision is None:
        return 0, 0
    patch = int(getattr(vision, "patch_size", 14))
    merge = int(getattr(vision, "spatial_merge_size", 1))
    side = getattr(vision, "image_size", None)
    pixels = max_pixels or (side * side if isinstance(side, int) else 401_408)
    patches = pixels // patch**2
    return patches, patches // merge**2
