"""Drift: how far the distributions of a model have moved from those of its base, on prompts of three kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated

import gin
import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from recap.data.encoding import Room, encode_prompts
from recap.evaluation.drift_prompts import DriftPrompt
from recap.evaluation.scores import clustered_standard_error
from recap.model.forwards import plain_states
from recap.model.token_scores import log_probabilities
from recap.sampling.rollout import roll_out, token_ids
from registry.backends.base import EncodedPrompts, LoadedModel

AsModel = Callable[[], AbstractContextManager[LoadedModel]]
"""Makes a model ready for a while: the one in training, or its base."""

VALUES = 2**25
"""Log-probs of one model that are in memory together, in fp32: 128 MiB."""


@gin.configurable("drift", module="recap")
@dataclass(frozen=True, kw_only=True)
class Drift:
    """How the divergence between the model and its base is measured at every evaluation.

    Args:
        prompts: of each kind: trained on, replayed, and held-out ones of skills that no domain trains.
        max_new_tokens: of each prompt's completion, by the model and by the base.
        replayed: domains that count as replayed besides those with `Domain.replayed`, by name; the others are trained on. One
            that the experiment does not have is passed over, so that a run without replay can be the same file with fewer
            domains, and is measured on the same untrained skills.

    Raises:
        ValueError: a number below 1.
    """

    prompts: Annotated[int, Ge(1)] = 16
    max_new_tokens: Annotated[int, Ge(1)] = 32
    replayed: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("prompts", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"drift.{name} must be at least 1; it is {getattr(self, name)} (off: train.drift = None)"
                )
        if isinstance(self.replayed, str):
            raise ValueError(f"drift.replayed must be a list of domains, e.g. ['reading']; it is {self.replayed!r}")


@dataclass(frozen=True)
class Divergence:
    """KL per token, over the completions of several prompts.

    Attributes:
        mean: Σ KL / number of tokens, in nats.
        standard_error: of that mean over the prompts: the tokens of one prompt count as one observation.
        prompts, tokens: how many.
    """

    mean: float
    standard_error: float
    prompts: int
    tokens: int


@dataclass(frozen=True)
class DriftMeter:
    """Measures a model against its base.

    For every token of a completion, given what stands before it, KL(p‖q) = Σ_v p(v) (log p(v) − log q(v)) over the whole
    vocabulary: exact at each place, no estimate from the sampled token. KL(model‖base) is averaged over completions that the
    model has sampled, KL(base‖model) over those that the base has, so that each is what one distribution loses by the other
    where it goes itself. Both are distributions that are sampled from: at the temperature, without forbidden tokens.

    Attributes:
        prompts: all of them.
        settings: how much is measured.
        model, base: the two, made ready for a while; both may be the same weights with and without an adapter.
        temperature: of the sampling.
        seed: of the sampling; one prompt gets the same random numbers at every evaluation.
        device: of the models.
    """

    prompts: Sequence[DriftPrompt]
    settings: Drift
    model: AsModel
    base: AsModel
    temperature: float
    seed: int
    device: torch.device

    def sample(self, by: AsModel) -> dict[int, list[int]]:
        """A completion of each prompt that the model can read: its place among the prompts -> token ids."""
        found: dict[int, list[int]] = {}
        with by() as loaded:
            for places, encoded in self._batches(loaded, range(len(self.prompts)), self.settings.prompts):
                rollout = roll_out(
                    loaded,
                    [self.prompts[place].prompt for place in places],
                    encoded=encoded,
                    group_size=1,
                    max_new_tokens=self.settings.max_new_tokens,
                    temperature=self.temperature,
                    device=self.device,
                    seed=self.seed,
                )
                found |= {place: list(token_ids(rollout, row)) for row, place in enumerate(places)}
        return found

    def divergence(self, p: AsModel, q: AsModel, completions: Mapping[int, list[int]]) -> dict[int, list[float]]:
        """KL(p‖q) of each token of the completions, in nats, by the place of their prompt."""
        found: dict[int, list[float]] = {}
        with p() as loaded:
            vocabulary = loaded.model.get_output_embeddings().weight.shape[0]
        together = max(1, VALUES // (vocabulary * self.settings.max_new_tokens))
        for places, encoded in self._batches(loaded, completions, together):
            ids, mask = padded([completions[place] for place in places], self.device)
            kl = kl_per_token(*(self._log_probs(by, encoded, ids, mask) for by in (p, q)))
            parts = torch.split(kl.cpu(), mask.sum(1).tolist())
            found |= {place: part.tolist() for place, part in zip(places, parts, strict=True)}
        return found

    @torch.no_grad()
    def _log_probs(self, by: AsModel, encoded: EncodedPrompts, ids: Tensor, mask: Tensor) -> Tensor:
        with by() as loaded:
            logits = plain_states(loaded.model, encoded, ids, mask, logits=True)
            return log_probabilities(logits, loaded.forbidden_token_ids, self.temperature)

    def _batches(
        self, loaded: LoadedModel, places: Iterable[int], together: int
    ) -> Iterator[tuple[list[int], EncodedPrompts]]:
        """The prompts at some places as tensors, so many at a time, without those that the model cannot read."""
        room = Room(loaded.context_length, self.settings.max_new_tokens)
        todo = list(places)
        for start in range(0, len(todo), together):
            part = [self.prompts[place] for place in todo[start : start + together]]
            asking, prompts = [item.asking for item in part], [item.prompt for item in part]
            encoded = encode_prompts(loaded, asking, prompts, [room] * len(part))
            if encoded.tensors is not None:
                yield [todo[start + place] for place in encoded.places], encoded.tensors.to(self.device)


def kl_per_token(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Σ_v p(v) (log p(v) − log q(v)): [N, V], [N, V] -> [N]; what neither can give (−inf in both) adds nothing."""
    difference = (log_p - log_q).masked_fill_(log_p.isneginf(), 0.0)
    return (log_p.exp() * difference).sum(-1)


def mean_divergence(tokens: Sequence[Sequence[float]]) -> Divergence:
    """Of the KL of every token, prompt by prompt."""
    values = [value for prompt in tokens for value in prompt]
    clusters = [str(number) for number, prompt in enumerate(tokens) for _ in prompt]
    mean = float(np.mean(values)) if values else float("nan")
    return Divergence(mean, clustered_standard_error(values, clusters), len(tokens), len(values))


def padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids of completions, padded on the right, and their mask: [R, T] each."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return ids.to(device), mask.to(device)
