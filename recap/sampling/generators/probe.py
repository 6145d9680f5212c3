"""A fixed prompt, scored by the generator and by the model in training: what shows whether weights have arrived."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from recap.model.precision import probing
from recap.sampling.generators.base import GenerationRequest, Generator
from recap.sampling.stand_in import stand_in
from registry.backends.base import EncodedPrompts, LoadedModel
from registry.chat import Chat


class Probe:
    """The prompt, as a model reads it.

    Args:
        picture: whether it has a picture, without which a vision tower would not be compared.
    """

    def __init__(self, loaded: LoadedModel, device: torch.device, *, picture: bool) -> None:
        example = stand_in(picture=picture)
        self.encoded: EncodedPrompts = loaded.encode([example.question], [example], device)
        ids = self.encoded.inputs["input_ids"][0].tolist()
        self.request = GenerationRequest(Chat(example.question), example.images, ids, seed=0)
        self.forbidden = torch.tensor(loaded.forbidden_token_ids, dtype=torch.long)

    def difference(self, loaded: LoadedModel, generator: Generator, autocast: AbstractContextManager[None]) -> float:
        """Mean of |log π - log π_generator| over the prompt's tokens, in nats; placeholders of pictures are left out.

        Raises:
            GeneratorError: the generator cannot score the prompt.
        """
        theirs = torch.tensor(generator.score(loaded, self.request), dtype=torch.float64)
        counted = ~torch.isin(torch.tensor(self.request.token_ids[1:]), self.forbidden)
        return float((self._log_probs(loaded, autocast) - theirs)[counted].abs().mean())

    @probing()
    def _log_probs(self, loaded: LoadedModel, autocast: AbstractContextManager[None]) -> Tensor:
        """Of each token but the first under the model in training, [L - 1]."""
        model, inputs = loaded.model, self.encoded.inputs
        training = model.training
        model.eval()
        with autocast:
            logits = model(**inputs, position_ids=self.encoded.position_ids, use_cache=False).logits[0, :-1]
        model.train(training)
        log_probs: Tensor = logits.float().log_softmax(-1).gather(1, inputs["input_ids"][0, 1:, None])
        return log_probs[:, 0].double().cpu()
