"""Log-probabilities of completions, with the prompt of a group computed once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import gin
import torch
from einops import rearrange
from torch import Tensor, nn
from transformers import PreTrainedModel

from recap.model.forwards import continued_states, packed_states, plain_states
from recap.model.head import head_of
from recap.model.packing import share_saved, why_not_packed
from recap.model.prefix import Prefix
from recap.model.settling import Settled, settle
from recap.model.token_scores import log_probabilities, token_scores
from registry.backends.base import EncodedPrompts

logger = logging.getLogger(__name__)
WORTH_SHARING = 0.03  # of the tokens; to share less took up to 16 % longer than it saved (docs/performance.md)
PROBE_TOKENS = 16  # completion tokens per completion in the comparison at first use


@gin.configurable("scoring", module="recap")
@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How the loss's forward saves work. No setting changes what is computed.

    Args:
        shared_prefix: whether the prompt of a group is computed once, its completions packed behind it. A model whose
            attention cannot do that is found at the first use and gets a forward per completion. So does a group of long
            completions behind a short prompt without a picture, where there is next to nothing to share.
        chunk: completion tokens whose logits exist at the same time; backward computes them again. None: all of them.
        reuse_prefill: whether the rollout's forward over the prompts, vision tower included, is that of the first update's loss
            too, so that a prompt is computed once per step. Needs both of the above, one micro-batch a step
            (`train.accumulation_steps` = 1), a model that is not sharded and no activation checkpointing; elsewhere prompts
            are computed again.
        max_tokens: of one forward and backward, those of prompts and padding included. A micro-batch that has more is cut into
            several, of fewer prompts or of one prompt and some of its completions, whose gradients add up to the same; a
            single completion with its prompt stays whole. It bounds the activations in memory. None: no bound.

    Raises:
        ValueError: a chunk or a bound below 1.
    """

    shared_prefix: bool = True
    chunk: int | None = 256
    reuse_prefill: bool = True
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("chunk", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"scoring.{name} must be at least 1, or None; it is {value}")

    @property
    def can_reuse_prefill(self) -> bool:
        """Whether these settings, all three of them, let prompts computed in the rollout serve the loss."""
        return self.reuse_prefill and self.shared_prefix and self.chunk is not None


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
        settled: the settings that the model was seen to stand, and why not all; None before the first forward.
        continues: the same of scores behind a prefix of the rollout.
        agree: whether something holds on all processes; a scorer on several processes settles for what all of them can do.
        one_forward: whether each scoring must be a single forward of the model: where it is sharded, every process takes
            part in the forwards of the others, so that a group here and a supervised example there must cost the same.
    """

    def __init__(self, model: PreTrainedModel, forbidden_token_ids: list[int], settings: Scoring | None = None) -> None:
        super().__init__()
        self.model = model
        self.forbidden_token_ids = forbidden_token_ids
        self.settings = settings or Scoring()
        self.settled: Settled[Scoring] | None = None
        self.continues: Settled[bool] | None = None
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
        if self.settled is None:
            self.settled = self._settle(prompts, completion_ids)
        settings = self.settled.way
        if settings.shared_prefix and not self._worth_sharing(prompts, completion_mask, prefix):
            return self._score(replace(settings, shared_prefix=False), *arguments)
        if prefix is not None and prefix.held and self.wants_prefix:
            if self.continues is None:
                self.continues = self._settle_prefix(settings, prefix, prompts, completion_ids)
            if self.continues.way:
                return self._score(settings, *arguments, prefix)
        return self._score(settings, *arguments)

    def _worth_sharing(self, prompts: EncodedPrompts, mask: Tensor, prefix: Prefix | None) -> bool:
        """Whether more is saved than packing costs: putting the prompt's keys and values before those of every completion."""
        if self.one_forward or len(mask) == len(prompts) or any(prompts.processed_sizes):
            return True  # or there is no choice; a single completion costs the same; a vision tower is worth it
        return share_saved(prompts, mask, inside=prefix is None) >= WORTH_SHARING

    @property
    def wants_prefix(self) -> bool:
        """Whether a rollout should keep its prefix: unless the settings or the model cannot make use of it."""
        settings = self.settled.way if self.settled else self.settings
        return settings.can_reuse_prefill and (self.continues is None or self.continues.way)

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
        head, states = self._head_and_states(settings, prompts, ids, mask, prefix)
        chunk = settings.chunk or max(1, len(states))
        log_probs, entropy = token_scores(head, states, ids[real], self.forbidden_token_ids, temperature, chunk)
        empty = log_probs.new_zeros(mask.shape)
        return Scores(empty.masked_scatter(real, log_probs), empty.masked_scatter(real, entropy))

    def _head_and_states(
        self, settings: Scoring, prompts: EncodedPrompts, ids: Tensor, mask: Tensor, prefix: Prefix | None
    ) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """What the completions' tokens are predicted from, [tokens, H], and what makes logits of it."""
        whole = settings.chunk is None  # the states are logits
        if prefix is not None:
            states = continued_states(self.model, prefix, prompts, ids, mask)
        elif settings.shared_prefix:
            states = packed_states(self.model, prompts, ids, mask, logits=whole)
        else:
            states = plain_states(self.model, prompts, ids, mask, logits=whole)
        return nn.Identity() if whole else head_of(self.model), states

    @property
    def _no_split_modules(self) -> list[str]:
        """What Accelerate shards as units, by default: the layers of the language model.

        Not those of a vision tower: it does not run on a process whose micro-batch holds no picture, and the others would
        wait for it to take part in gathering a layer.
        """
        names = self.model._no_split_modules or []
        inside = {type(module).__name__ for module in self.model.get_decoder().modules()}
        return [name for name in names if name in inside]

    def _settle(self, prompts: EncodedPrompts, ids: Tensor) -> Settled[Scoring]:
        """The settings, less what this model does not stand."""
        whole = self.settings
        plain = replace(whole, shared_prefix=False, chunk=None)
        candidates = [whole, replace(whole, chunk=None), replace(whole, shared_prefix=False), plain]
        refused = why_not_packed(self.model) if whole.shared_prefix else None
        if refused:
            candidates = candidates[2:]
        candidates = list(dict.fromkeys(candidates))
        settled = settle(self.model, candidates, lambda settings: self._probe(settings, prompts, ids), self.agree)
        if refused:
            settled = replace(settled, wanted=whole, reason="; ".join(filter(None, [refused, settled.reason])))
        if settled.fell_back:
            logger.warning("%s: scoring with %s: %s", type(self.model).__name__, settled.way, settled.reason)
        if self.one_forward and not settled.way.shared_prefix:
            raise ValueError(
                f"{type(self.model).__name__} cannot be sharded here: its completions cannot be packed behind a"
                f" shared prompt ({settled.reason}), and processes would run it a different number of times; train it with"
                " plain data parallelism (experiments/accelerate/ddp_8_gpus.yaml)"
            )
        return settled

    def _settle_prefix(self, settings: Scoring, prefix: Prefix, prompts: EncodedPrompts, ids: Tensor) -> Settled[bool]:
        """Whether scores behind a prefix are those of the whole rows."""
        settled = settle(
            self.model, [True, False], lambda behind: self._probe(settings, prompts, ids, prefix if behind else None)
        )
        if settled.fell_back:
            kind = type(self.model).__name__
            logger.warning("%s: prompts are computed again in the loss: %s", kind, settled.reason)
        return settled

    def _probe(self, settings: Scoring, prompts: EncodedPrompts, ids: Tensor, prefix: Prefix | None = None) -> Tensor:
        """Distributions along the second of two completions per prompt, which must not notice the first: [P * T, V].

        One forward: where nothing is shared, the second is scored alone.

        Args:
            ids: [P * G, T], of completions.
        """
        group_size = len(ids) // len(prompts)
        ids = torch.cat([ids, ids], dim=1)[:, :PROBE_TOKENS]  # two tokens at least: one would need nothing packed
        first = torch.arange(len(prompts), device=ids.device) * group_size
        second = first + min(1, group_size - 1)  # a lone completion comes twice
        pair = torch.stack([first, second], dim=1).flatten()
        ids = ids[pair if settings.shared_prefix else second]
        head, states = self._head_and_states(settings, prompts, ids, torch.ones_like(ids), prefix)
        if settings.shared_prefix:
            states = rearrange(states, "(p g t) h -> p g t h", g=2, t=ids.shape[1])[:, 1].flatten(0, 1)
        return log_probabilities(head(states), self.forbidden_token_ids, 1.0)
