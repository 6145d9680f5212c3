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
from recap.model.forwards import packed_states, plain_states
from recap.model.head import head_of
from recap.model.token_scores import log_probabilities
from recap.sampling.rollout import roll_out, token_ids
from registry.backends.base import EncodedPrompts, LoadedModel

AsModel = Callable[[], AbstractContextManager[LoadedModel]]
"""Makes a model ready for a while: the one in training, or its base."""

Completions = Mapping[int, list[int]]
"""Place of a prompt -> token ids of what was sampled behind it."""

VALUES = 2**25
"""Log-probs of one model that are in memory together, in fp32: 128 MiB."""

SAMPLED_TOGETHER = 64
"""Prompts, as many as a capability asks together by default."""

SCORED_TOGETHER = 8
"""Prompts, of about one length, so that little of a batch is padding."""


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
        shared_prefix: whether both completions of a prompt are scored in one row, the prompt computed once, as in the loss; for
            models that were seen to stand it (`Scorer.settled`).
    """

    prompts: Sequence[DriftPrompt]
    settings: Drift
    model: AsModel
    base: AsModel
    temperature: float
    seed: int
    device: torch.device
    shared_prefix: bool = False

    def sample(self, by: AsModel) -> dict[int, list[int]]:
        """A completion of each prompt that the model can read: its place among the prompts -> token ids."""
        found: dict[int, list[int]] = {}
        with by() as loaded:
            for places, encoded in self._batches(loaded, _parts(range(len(self.prompts)), SAMPLED_TOGETHER)):
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

    def divergence(self, ours: Completions, theirs: Completions) -> dict[str, dict[int, list[float]]]:
        """KL of each token of the completions, in nats: direction -> place of the prompt -> tokens.

        Args:
            ours, theirs: what the model and what the base have sampled; of prompts that both have answered.
        """
        found: dict[str, dict[int, list[float]]] = {"kl_model_base": {}, "kl_base_model": {}}
        sets = [ours] if ours == theirs else [ours, theirs]
        with self.model() as loaded:
            vocabulary = loaded.model.get_output_embeddings().weight.shape[0]
        rows = VALUES // (vocabulary * self.settings.max_new_tokens)
        for places, encoded in self._batches(loaded, self._alike(ours, theirs, max(1, rows // len(sets)))):
            ids, mask = padded([completions[place] for place in places for completions in sets], self.device)
            lengths, last = mask.sum(1).tolist(), len(sets) - 1
            model, base = (
                torch.split(self._log_probs(by, encoded, ids, mask), lengths) for by in (self.model, self.base)
            )
            for place, own, other in zip(
                places, range(0, len(ids), len(sets)), range(last, len(ids), len(sets)), strict=True
            ):
                found["kl_model_base"][place] = kl_per_token(model[own], base[own]).tolist()
                found["kl_base_model"][place] = kl_per_token(base[other], model[other]).tolist()
        return found

    @torch.no_grad()
    def _log_probs(self, by: AsModel, encoded: EncodedPrompts, ids: Tensor, mask: Tensor) -> Tensor:
        with by() as loaded:
            if self.shared_prefix:
                states = packed_states(loaded.model, encoded, ids, mask, logits=False)
                logits = head_of(loaded.model)(states)
            else:
                logits = plain_states(loaded.model, encoded, ids, mask, logits=True)
            return log_probabilities(logits, loaded.forbidden_token_ids, self.temperature)

    def _alike(self, ours: Completions, theirs: Completions, most: int) -> Iterator[Sequence[int]]:
        """Places that both have, so many at a time, of prompts of about one length."""

        def length(place: int) -> tuple[int, int]:
            prompt = self.prompts[place].prompt
            return sum(image.width * image.height for image in prompt.example.images), len(prompt.text)

        both = sorted((place for place in ours if place in theirs), key=length)
        return _parts(both, min(most, SCORED_TOGETHER))

    def _batches(
        self, loaded: LoadedModel, parts: Iterable[Sequence[int]]
    ) -> Iterator[tuple[list[int], EncodedPrompts]]:
        """The prompts at some places as tensors, part by part, without those that the model cannot read."""
        room = Room(loaded.context_length, self.settings.max_new_tokens)
        for places in parts:
            part = [self.prompts[place] for place in places]
            asking, prompts = [item.asking for item in part], [item.prompt for item in part]
            encoded = encode_prompts(loaded, asking, prompts, [room] * len(part))
            if encoded.tensors is not None:
                yield [places[place] for place in encoded.places], encoded.tensors.to(self.device)


def _parts(places: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    return (places[start : start + most] for start in range(0, len(places), most))


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
