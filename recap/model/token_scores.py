"""Log-probabilities of tokens from hidden states, in the distribution that completions are sampled from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


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
