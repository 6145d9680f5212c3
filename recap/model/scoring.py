"""Log-probabilities of completions, with the prompt of a group computed once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import gin
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from recap.model.forwards import continued_states, packed_states, plain_states
from recap.model.packing import why_not_packed
from recap.model.precision import probing
from recap.model.prefix import Prefix
from recap.model.settling import same_log_probs, settle
from recap.model.token_scores import token_scores
from registry.backends.base import EncodedPrompts

logger = logging.getLogger(__name__)


@gin.configurable("scoring", module="recap")
@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How the loss's forward saves work. No setting changes what is computed.

    Args:
        shared_prefix: whether the prompt of a group is computed once, its completions packed behind it. A model whose
            attention cannot do that is found at the first use and gets a forward per completion.
        chunk: completion tokens whose logits exist at the same time; backward computes them again. None: all of them.
        reuse_prefill: whether the rollout's forward over the prompts, vision tower included, is that of the first update's loss
            too, so that a prompt is computed once per step. Needs both of the above, one micro-batch a step
            (`train.accumulation_steps` = 1) and a model that is not sharded; elsewhere prompts are computed again.

    Raises:
        ValueError: a chunk below 1.
    """

    shared_prefix: bool = True
    chunk: int | None = 256
    reuse_prefill: bool = True

    def __post_init__(self) -> None:
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"scoring.chunk must be at least 1, or None; it is {self.chunk}")


class Scores(NamedTuple):
    """Of P * G completions of up to T tokens.

    Attributes:
        log_probs: [P * G, T], natural logarithm, <= 0; 0 where the completion mask is 0.
        entropy: [P * G, T] of the sampling distribution, in nats; without gradient.
    """

    log_probs: Tensor
    entropy: Tensor


class Scorer(nn.Module):
    """Scores completions under the model; the module that Accelerate wraps.

    One forward of this module is one forward and one backward for data-parallel wrappers. The first one compares the
    savings of `Scoring` with the plain forward, on the first tokens of the first completions, and does without those
    that the model does not stand; a line in the log says so.

    Args:
        model: a causal or image-text-to-text model.
        forbidden_token_ids: tokens that are never sampled; they get no probability here either, so that log-probs are
            those of the distribution that was sampled from.
        settings: how work is saved; None: as configured.

    Attributes:
        agree: whether something holds on all processes; a scorer on several processes settles for what all of them can do.
        one_forward: whether each scoring must be a single forward of the model: where it is sharded, every process takes
            part in the forwards of the others, so that a group here and a supervised example there must cost the same.
    """

    def __init__(self, model: PreTrainedModel, forbidden_token_ids: list[int], settings: Scoring | None = None) -> None:
        super().__init__()
        self.model = model
        self.forbidden_token_ids = forbidden_token_ids
        self.settings = settings or Scoring()
        self._settled: Scoring | None = None  # the settings that the model was seen to stand
        self._continues: bool | None = None  # whether it was seen to score behind a prefix
        self.agree: Callable[[bool], bool] = bool
        self.one_forward = False

    def forward(
        self,
        prompts: EncodedPrompts,
        completion_ids: Tensor,
        completion_mask: Tensor,
        *,
        temperature: float = 1.0,
        prefix: Prefix | None = None,
    ) -> Scores:
        """Scores G completions of each of P prompts.

        Args:
            prompts: P encoded prompts.
            completion_ids: [P * G, T], the completions of one prompt next to each other.
            completion_mask: [P * G, T], 1 for tokens of the completion (its end token included).
            temperature: of the sampling distribution.
            prefix: the prompts as the same weights have computed them in the rollout; they are not computed again.
        """
        arguments = (prompts, completion_ids, completion_mask, temperature)
        if self._settled is None:
            self._settled = self._settle(prompts, completion_ids)
        if prefix is not None and prefix.held and self.wants_prefix and self._can_continue(prefix, *arguments):
            return self._score(self._settled, *arguments, prefix)
        return self._score(self._settled, *arguments)

    @property
    def wants_prefix(self) -> bool:
        """Whether a rollout should keep its prefix: unless the settings or the model cannot make use of it."""
        settings = self._settled or self.settings
        able = settings.reuse_prefill and settings.shared_prefix and settings.chunk is not None
        return able and self._continues is not False

    def _score(
        self,
        settings: Scoring,
        prompts: EncodedPrompts,
        ids: Tensor,
        mask: Tensor,
        temperature: float,
        prefix: Prefix | None = None,
    ) -> Scores:
        real = mask.bool()
        if prefix is not None:
            states = continued_states(self.model, prefix, prompts, ids, mask)
        elif settings.shared_prefix:
            states = packed_states(self.model, prompts, ids, mask, logits=settings.chunk is None)
        else:
            states = plain_states(self.model, prompts, ids, mask, logits=settings.chunk is None)
        head, chunk = nn.Identity(), max(1, len(states))  # the states are logits
        if settings.chunk is not None:
            head, chunk = self.model.get_output_embeddings(), settings.chunk
        log_probs, entropy = token_scores(head, states, ids[real], self.forbidden_token_ids, temperature, chunk)
        empty = log_probs.new_zeros(mask.shape)
        return Scores(empty.masked_scatter(real, log_probs), empty.masked_scatter(real, entropy))

    @property
    def _no_split_modules(self) -> list[str]:
        """What Accelerate shards as units, by default: the layers of the language model.

        Not those of a vision tower: it does not run on a process whose micro-batch holds no picture, and the others would
        wait for it to take part in gathering a layer.
        """
        names = self.model._no_split_modules or []
        inside = {type(module).__name__ for module in self.model.get_decoder().modules()}
        return [name for name in names if name in inside]

    def _settle(self, prompts: EncodedPrompts, ids: Tensor) -> Scoring:
        """The settings, less what this model does not stand."""
        plain = replace(self.settings, shared_prefix=False, chunk=None)
        if self.settings == plain:
            return plain
        candidates = [self.settings, replace(self.settings, chunk=None), replace(self.settings, shared_prefix=False)]
        unable = why_not_packed(self.model)
        if unable:
            candidates = candidates[2:]

        def log_probs(settings: Scoring, prompts: EncodedPrompts, ids: Tensor, mask: Tensor) -> Tensor:
            return self._score(settings, prompts, ids, mask, 1.0).log_probs

        settled, reason = settle(self.model, plain, candidates, log_probs, prompts, ids, self.agree)
        reason = unable or reason
        if settled != self.settings:
            logger.warning("%s: scoring with %s: %s", type(self.model).__name__, settled, reason)
        if self.one_forward and not settled.shared_prefix:
            raise ValueError(
                f"{type(self.model).__name__} cannot be sharded here: its completions cannot be packed behind a"
                f" shared prompt ({reason}), and processes would run it a different number of times; train it with"
                " plain data parallelism (experiments/accelerate/ddp_8_gpus.yaml)"
            )
        return settled

    @probing()
    def _can_continue(
        self, prefix: Prefix, prompts: EncodedPrompts, ids: Tensor, mask: Tensor, temperature: float
    ) -> bool:
        """Whether scores behind a prefix are those of the whole rows; asked once."""
        if self._continues is None:
            assert self._settled is not None
            arguments = (self._settled, prompts, ids, mask, temperature)
            try:
                difference = (self._score(*arguments, prefix).log_probs - self._score(*arguments).log_probs).abs()
                self._continues = same_log_probs(self.model, difference)
                reason = f"log-probs differ by up to {float(difference.max()):.2g}"
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # whatever a model raises at a cache and a mask together
                self._continues, reason = False, f"{type(error).__name__}: {error}"
            if not self._continues:
                logger.warning("%s: prompts are computed again in the loss: %s", type(self.model).__name__, reason)
        return self._continues
