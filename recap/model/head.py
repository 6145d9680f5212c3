"""A model's own head: hidden states to logits, with whatever its forward does to them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel


def head_of(model: PreTrainedModel) -> Callable[[Tensor], Tensor]:
    """The head of a model: what its forward makes of the last hidden states, [n, H] -> [n, V].

    Its output embedding is not all of it: Granite divides logits by a number, Cohere multiplies them, Gemma 2 caps them, and
    no module says so, only the code of the forward. So that code is run: the forward of a shallow copy of the model, with the
    same parameters, in which given states stand in for what the layers would have computed. The model itself is left as it
    is. A head that also depends on the text is found by the comparison with the plain forward at first use.

    Raises:
        ValueError: the layers of the model are no module of their own that could be stood in for.
    """
    if model.base_model is model:
        raise ValueError(f"{type(model).__name__} does not keep its layers apart from its head")

    def head(states: Tensor) -> Tensor:
        shell = copy.copy(model)  # anew each time: an adapter may have replaced a module since
        given = _Given(states[None], model.base_model)
        shell._modules = {**model._modules, model.base_model_prefix: given}
        logits: Tensor = type(model).forward(shell, inputs_embeds=states[None], use_cache=False).logits
        return logits[0]

    return head


class _Given:
    """In the place of the layers: called with anything, it answers with the states that it was given.

    Asked for a setting of theirs (Falcon-H1 keeps the factor of its logits there), it answers as they do.
    """

    def __init__(self, states: Tensor, layers: nn.Module) -> None:
        self._states, self._layers = states, layers
        self.decoder = self  # OPT passes by its base model and calls its decoder

    def __call__(self, *args: Any, **kwargs: Any) -> _Output:
        return _Output(self._states)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layers, name)


class _Output:
    """Of the layers, with nothing in it but the states; the rest, e.g. router logits, is None."""

    def __init__(self, states: Tensor) -> None:
        self.last_hidden_state = states

    def __getitem__(self, index: int | slice) -> Any:
        return (self.last_hidden_state,)[index]

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
