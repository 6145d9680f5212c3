"""Log-probabilities of completions, with the prompt of a group computed once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from transformers import PreTrainedModel

from registry.backends.base import EncodedPrompts


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

    The prompt is computed once per group: its key/value cache, with gradient, is repeated for the G completions, which
    attend to it. One forward of this module is one forward and one backward for data-parallel wrappers.

    Args:
        model: a causal or image-text-to-text model.
        forbidden_token_ids: tokens that are never sampled; they get no probability here either, so that log-probs are
            those of the distribution that was sampled from.
    """

    def __init__(self, model: PreTrainedModel, forbidden_token_ids: list[int]) -> None:
        super().__init__()
        self.model = model
        self.forbidden_token_ids = forbidden_token_ids

    def forward(
        self,
        prompts: EncodedPrompts,
        completion_ids: Tensor,
        completion_mask: Tensor,
        *,
        temperature: float = 1.0,
    ) -> Scores:
        """Scores G completions of each of P prompts.

        Args:
            prompts: P encoded prompts.
            completion_ids: [P * G, T], the completions of one prompt next to each other.
            completion_mask: [P * G, T], 1 for tokens of the completion (its end token included).
            temperature: of the sampling distribution.
        """
        group_size = completion_ids.shape[0] // len(prompts)
        prefill = self.model(**prompts.inputs, position_ids=prompts.position_ids, use_cache=True, logits_to_keep=1)
        cache = prefill.past_key_values
        cache.batch_repeat_interleave(group_size)
        logits = repeat(prefill.logits, "p 1 v -> (p g) 1 v", g=group_size)
        if completion_ids.shape[1] > 1:
            prompt_mask = repeat(prompts.attention_mask, "p l -> (p g) l", g=group_size)
            start = repeat(prompts.next_position, "p -> (p g) 1", g=group_size)
            length = completion_ids.shape[1] - 1
            following = self.model(
                input_ids=completion_ids[:, :-1],
                attention_mask=torch.cat([prompt_mask, completion_mask[:, :-1].to(prompt_mask.dtype)], dim=1),
                position_ids=start + torch.arange(length, device=start.device),
                past_key_values=cache,
                use_cache=True,
            ).logits
            logits = torch.cat([logits, following], dim=1)
        log_probs = log_probabilities(logits, self.forbidden_token_ids, temperature)
        with torch.no_grad():
            entropy = -(log_probs.exp() * log_probs.clamp(min=torch.finfo(log_probs.dtype).min)).sum(-1)
        chosen = log_probs.gather(-1, rearrange(completion_ids, "b t -> b t 1"))
        padding = completion_mask == 0
        return Scores(rearrange(chosen, "b t 1 -> b t").masked_fill(padding, 0.0), entropy.masked_fill(padding, 0.0))


def log_probabilities(logits: Tensor, forbidden_token_ids: list[int], temperature: float) -> Tensor:
    """Log-probabilities [..., V] in fp32 of the distribution that completions are sampled from."""
    logits = logits.float()
    if temperature != 1.0:
        logits = logits / temperature
    if forbidden_token_ids:
        forbidden = torch.tensor(forbidden_token_ids, device=logits.device)
        logits = logits.index_fill(-1, forbidden, -torch.inf)
    return torch.log_softmax(logits, dim=-1)
