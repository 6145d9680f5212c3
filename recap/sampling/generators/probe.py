"""A fixed prompt, scored by the generator and by the model in training: what shows whether weights have arrived."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from recap.model.precision import probing
from recap.sampling.generators.base import GenerationRequest, Generator
from registry.backends.base import EncodedPrompts, LoadedModel
from registry.example import Example

TEXT = (
    "What is 17 + 25? First 17 + 20 = 37, then 37 + 5 = 42. The quick brown fox jumps over the lazy dog, and 3 of 4"
    " red squares lie left of the blue circle at [12, 40, 96, 128]."
)
SIDE = 112  # pixels: a whole number of the patches of every family, and small


class Probe:
    """The prompt, as a model reads it.

    Args:
        picture: whether it has a picture, without which a vision tower would not be compared.
    """

    def __init__(self, loaded: LoadedModel, device: torch.device, *, picture: bool) -> None:
        images = (_picture(),) if picture else ()
        self.encoded: EncodedPrompts = loaded.encode([TEXT], [Example("probe", TEXT, "", images)], device)
        self.request = GenerationRequest(TEXT, images, self.encoded.inputs["input_ids"][0].tolist(), seed=0)
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


def _picture() -> Image.Image:
    ramp = np.linspace(0, 255, SIDE, dtype=np.uint8)
    red, green = np.meshgrid(ramp, ramp)
    return Image.fromarray(np.stack([red, green, red ^ green], axis=-1))
