"""The contract of a generator: prompts in, token ids and the sampler's log-probs out; weights follow the training."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from registry.backends.base import LoadedModel
from registry.chat import Chat

if TYPE_CHECKING:
    from accelerate import Accelerator
    from PIL.Image import Image

FORBIDDEN_BIAS = -100.0
"""Added to the logits of forbidden tokens. The least that the OpenAI protocol and vLLM allow: next to never, not never."""


class GeneratorError(ValueError):
    """A generator that is not there, or an answer that cannot be used; the message names the binding and what to do."""


class GenerationRequest(NamedTuple):
    """One prompt.

    Attributes:
        chat: the prompt before the chat format.
        images: its pictures, in order.
        token_ids: the prompt as the model in training reads it: chat format, pictures as their placeholders.
        seed: of the sampling of this prompt's completions, in [0, 2**32).
    """

    chat: Chat
    images: tuple[Image, ...]
    token_ids: list[int]
    seed: int


class Completion(NamedTuple):
    """What was sampled.

    Attributes:
        token_ids: the completion, its end token included where one came; used as they are, never tokenized again.
        log_probs: natural logarithm of each token's probability in the distribution that it was sampled from: after
            temperature and forbidden tokens. NaN where the sampler does not know it.
    """

    token_ids: list[int]
    log_probs: list[float]


class Generator(ABC):
    """Samples completions with weights of its own, which `sync` keeps those of the model in training.

    Cheap to construct, so that `recap check` reaches nothing. Even with equal weights it computes other log-probs than the
    training forward does (other kernels, other precision): see `grpo.sampler_correction`.
    """

    syncs_on_every_process: ClassVar[bool] = False
    """Whether each training process has a generator of its own; otherwise the main process alone sends weights."""

    @property
    def wants_every_name(self) -> bool:
        """Whether `sync` gets a tied tensor under each of its names; otherwise once, under the first."""
        return False

    @property
    @abstractmethod
    def where(self) -> str:
        """What errors call it: its binding."""

    def check(self) -> None:
        """Raises GeneratorError for what can be found wrong without reaching anything, e.g. a package that is missing."""

    def connect(self) -> None:
        """Before the model is loaded: raises GeneratorError where the generator cannot be reached or is set up wrongly."""

    def start(self, loaded: LoadedModel, accelerator: Accelerator) -> None:
        """Once, after the model is loaded and before anything is sampled."""

    @abstractmethod
    def sync(self, parameters: Iterable[tuple[str, Tensor]]) -> None:
        """Takes over the weights.

        Args:
            parameters: name and whole tensor of every parameter, to be used one after the other; see `wants_every_name`.
        """

    @abstractmethod
    def score(self, loaded: LoadedModel, request: GenerationRequest) -> list[float]:
        """Natural logarithm of the probability of each token of a prompt but the first, at temperature 1, nothing forbidden.

        Raises:
            GeneratorError: it cannot be had, or the prompt was read otherwise than the model in training reads it.
        """

    @abstractmethod
    def generate(
        self,
        loaded: LoadedModel,
        requests: Sequence[GenerationRequest],
        *,
        group_size: int,
        max_new_tokens: int,
        temperature: float,
    ) -> list[Completion]:
        """Samples G completions of each of P prompts; temperature 0 takes the likeliest token.

        Returns: P * G completions, those of a prompt next to each other.
        """


def require(packages: Sequence[str], binding: str) -> None:
    """Raises GeneratorError where one of the packages is not installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise GeneratorError(
            f'{binding} needs {" and ".join(missing)}, which is not installed: pip install "recap-rlvr[vllm]"'
        )


def check_prompt_ids(found: Sequence[int] | None, request: GenerationRequest, where: str) -> None:
    """The generator must have read the prompt that the model is trained on.

    Raises:
        GeneratorError: it has not, or does not say.
    """
    if found is None or list(found) != request.token_ids:
        raise GeneratorError(
            f"{where} read the prompt {request.chat.text[:80]!r} as"
            f" {'unknown' if found is None else len(found)} tokens that are not the {len(request.token_ids)} of the model in"
            " training: give both the same checkpoint, chat template and image size (vLLM: --mm-processor-kwargs)"
        )


def collate(
    completions: Sequence[Completion], loaded: LoadedModel, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, mask and the sampler's log-probs as tensors, [B, T], padded on the right; log-probs are 0 in the padding.

    A completion is cut off before a forbidden token, should one have been sampled in spite of its bias: the model in
    training gives it no probability, so that its log-prob would be -inf and the loss NaN. What is left, perhaps nothing,
    counts as truncated.
    """
    forbidden = set(loaded.forbidden_token_ids)
    lengths = [
        next((t for t, token in enumerate(completion.token_ids) if token in forbidden), len(completion.token_ids))
        for completion in completions
    ]
    shape = (len(completions), max(1, *lengths))
    ids = torch.full(shape, loaded.pad_token_id)
    mask, log_probs = torch.zeros_like(ids), torch.zeros(shape)
    for row, (completion, length) in enumerate(zip(completions, lengths, strict=True)):
        ids[row, :length] = torch.tensor(completion.token_ids[:length], dtype=torch.long)
        mask[row, :length] = 1
        log_probs[row, :length] = torch.tensor(completion.log_probs[:length])
    return ids.to(device), mask.to(device), log_probs.to(device)
