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
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from recap.model.packing import pack, pack_behind, why_not_packed
from recap.model.prefix import Prefix
from registry.backends.base import EncodedPrompts

logger = logging.getLogger(__name__)
PROBE_TOKENS = 16  # completion tokens per completion in the comparison at first use


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
            states = self._continued(prefix, prompts, ids, mask)
        elif settings.shared_prefix:
            states = self._packed(settings, prompts, ids, mask)
        else:
            states = self._plain(settings, prompts, ids, mask)
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

    def _packed(self, settings: Scoring, prompts: EncodedPrompts, ids: Tensor, mask: Tensor) -> Tensor:
        """What each completion token is predicted from, [tokens, H] (or logits, [tokens, V]): one row per group."""
        attention = self.model.config.get_text_config()._attn_implementation
        packed = pack(prompts, ids, mask, additive=attention == "eager")
        inputs = {**packed.inputs, "use_cache": False}
        output = (
            self.model(**inputs).logits if settings.chunk is None else self.model.base_model(**inputs).last_hidden_state
        )
        states: Tensor = rearrange(output, "p s h -> (p s) h")
        return states.index_select(0, packed.predictors[mask.bool()])

    def _continued(self, prefix: Prefix, prompts: EncodedPrompts, ids: Tensor, mask: Tensor) -> Tensor:
        """The same, [tokens, H], behind prompts that are in the cache."""
        assert prefix.last is not None
        attention = self.model.config.get_text_config()._attn_implementation
        packed = pack_behind(prompts, ids, mask, additive=attention == "eager")
        output = self.model.base_model(**packed.inputs, past_key_values=prefix.cache(), use_cache=True)
        states = torch.cat([prefix.last[:, None], output.last_hidden_state], dim=1)
        return rearrange(states, "p s h -> (p s) h").index_select(0, packed.predictors[mask.bool()])

    @torch.no_grad()
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

    def _plain(self, settings: Scoring, prompts: EncodedPrompts, ids: Tensor, mask: Tensor) -> Tensor:
        """The same without sharing: G forwards of prompt and completion, one row each."""
        group_size, length = len(ids) // len(prompts), ids.shape[1]
        leading = prompts.position_ids.shape[:-2]
        following = prompts.next_position[:, None] + torch.arange(length - 1, device=ids.device)
        positions = torch.cat([prompts.position_ids, following.expand(*leading, *following.shape)], dim=-1)
        outputs = []
        for g in range(group_size):
            inputs = {
                **prompts.inputs,
                "input_ids": torch.cat([prompts.inputs["input_ids"], ids[g::group_size, :-1]], dim=1),
                "attention_mask": torch.cat(
                    [prompts.attention_mask, mask[g::group_size, :-1].to(prompts.attention_mask.dtype)], dim=1
                ),
                "position_ids": positions,
                "use_cache": False,
            }
            if settings.chunk is None:
                outputs.append(self.model(**inputs, logits_to_keep=length).logits)
            else:
                outputs.append(self.model.base_model(**inputs).last_hidden_state[:, -length:])
        return rearrange(torch.stack(outputs, dim=1), "p g t h -> (p g) t h")[mask.bool()]

    @torch.no_grad()
    def _settle(self, prompts: EncodedPrompts, ids: Tensor) -> Scoring:
        """The settings, less what this model does not stand.

        Compared are two completions per prompt, of which the second must not notice the first. However many there are,
        this takes one forward per candidate and one for the plain way, so that processes which shard a model stay in step.
        """
        plain = replace(self.settings, shared_prefix=False, chunk=None)
        if self.settings == plain:
            return plain
        candidates = [self.settings, replace(self.settings, chunk=None), replace(self.settings, shared_prefix=False)]
        if reason := why_not_packed(self.model):
            candidates = candidates[2:]
        group_size = len(ids) // len(prompts)
        first = torch.arange(len(prompts), device=ids.device) * group_size
        pair = torch.stack([first, first + min(1, group_size - 1)], dim=1)  # a lone completion twice
        pair, second = pair.flatten(), pair[:, 1]
        ids = torch.cat([ids, ids], dim=1)[:, :PROBE_TOKENS]  # two tokens at least: one would need nothing packed
        mask = torch.ones_like(ids)
        was_training = self.model.training
        self.model.eval()
        try:
            expected = self._score(plain, prompts, ids[second], mask[second], 1.0).log_probs
            for candidate in candidates:
                stands = False
                try:
                    found = self._score(candidate, prompts, ids[pair], mask[pair], 1.0).log_probs[1::2]
                    difference = (found - expected).abs()
                    stands = same_log_probs(self.model, difference)
                    if not stands:
                        reason = reason or f"log-probs differ by up to {float(difference.max()):.2g}"
                except torch.OutOfMemoryError:
                    raise
                except Exception as error:  # whatever a model raises at a mask or an output that it does not expect
                    reason = reason or f"{type(error).__name__}: {error}"
                if self.agree(stands):
                    break
            else:
                candidate = plain
        finally:
            self.model.train(was_training)
        if candidate != self.settings:
            reason = reason or "another process found that the model does not stand it"
            logger.warning("%s: scoring with %s: %s", type(self.model).__name__, candidate, reason)
        if self.one_forward and not candidate.shared_prefix:
            raise ValueError(
                f"{type(self.model).__name__} cannot be sharded here: its completions cannot be packed behind a"
                f" shared prompt ({reason}), and processes would run it a different number of times; train it with"
                " plain data parallelism (experiments/accelerate/ddp_8_gpus.yaml)"
            )
        return candidate


def same_log_probs(model: PreTrainedModel, difference: Tensor) -> bool:
    """Whether log-probs that differ by this are the same, up to the rounding of the model's precision."""
    if model.dtype == torch.float32 and not torch.is_autocast_enabled(difference.device.type):
        return bool(difference.max() < 1e-3)
    return bool(difference.mean() < 0.05)


def token_scores(
    head: Callable[[Tensor], Tensor],
    states: Tensor,
    ids: Tensor,
    forbidden_token_ids: list[int],
    temperature: float,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """Log-probs of tokens, and the entropy of the distributions that they come from; `chunk` tokens at a time.

    Backward computes the logits of a chunk again instead of keeping them.

    Args:
        head: hidden states to logits, [n, H] -> [n, V].
        states: [N, H].
        ids: [N].

    Returns: log-probs, [N]; entropy in nats, [N], without gradient.
    """
    forbidden = torch.tensor(forbidden_token_ids, dtype=torch.long, device=states.device)

    def score(states: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        logits = _sampled_logits(head(states), forbidden, temperature)
        normaliser = logits.logsumexp(-1)
        log_probs = logits.gather(-1, ids[:, None])[:, 0] - normaliser
        with torch.no_grad():  # last: backward's second run stops before it
            weighted = (logits - normaliser[:, None]).exp_().mul_(logits.clamp(min=torch.finfo(logits.dtype).min))
            entropy = normaliser - weighted.sum(-1)
        return log_probs, entropy

    if len(states) <= chunk:
        return score(states, ids)
    parts = [
        checkpoint(score, *part, use_reentrant=False, preserve_rng_state=False)
        for part in zip(torch.split(states, chunk), torch.split(ids, chunk), strict=True)
    ]
    log_probs, entropy = zip(*parts, strict=True)
    return torch.cat(log_probs), torch.cat(entropy)


def log_probabilities(logits: Tensor, forbidden_token_ids: list[int], temperature: float) -> Tensor:
    """Log-probabilities [..., V] in fp32 of the distribution that completions are sampled from."""
    forbidden = torch.tensor(forbidden_token_ids, dtype=torch.long, device=logits.device)
    return torch.log_softmax(_sampled_logits(logits, forbidden, temperature), dim=-1)


def _sampled_logits(logits: Tensor, forbidden: Tensor, temperature: float) -> Tensor:
    logits = logits.float()
    if temperature != 1.0:
        logits = logits / temperature
    return logits.index_fill(-1, forbidden, -torch.inf) if len(forbidden) else logits
